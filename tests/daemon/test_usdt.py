"""USDT probes of files: notes that <sys/sdt.h> leaves, and such as it would not."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from probed_files import build, find

from ptraced.errors import LimitExceeded, NotFound, TraceError

pytestmark = pytest.mark.usefixtures("kernel_with_uprobes")

KERNEL_TESTS = Path(__file__).parent.parent / "kernel"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the kernel tests: probed:plain at two places, probed:guarded."""
    target = tmp_path_factory.mktemp("usdt") / "program"
    subprocess.run(["gcc", "-O2", "-o", target, KERNEL_TESTS / "probed.c"], check=True)
    return target


def readelf(program: Path) -> list[dict[str, str]]:
    """The probes as binutils show them."""
    shown = subprocess.run(
        ["readelf", "-n", program], capture_output=True, text=True, check=True
    ).stdout
    return [
        dict(
            part.strip().split(": ", 1)
            for line in note.splitlines()
            for part in line.split(",")
            if ": " in part
        )
        for note in shown.split("Provider: ")[1:]
    ]


def note(name: str, arguments: str, address: int, semaphore: int = 0) -> bytes:
    described = struct.pack("<QQQ", address, 0, semaphore)
    described += b"test\0" + name.encode() + b"\0" + arguments.encode() + b"\0"
    head = struct.pack("<III", 8, len(described), 3)
    return head + b"stapsdt\0" + described + b"\0" * (-len(described) % 4)


def with_notes(folder: Path, *notes: bytes) -> Path:
    """A program at fixed addresses with these notes."""
    plain = build(folder / "plain.c", "int main(void) { return 0; }", "-no-pie")
    (folder / "notes").write_bytes(b"".join(notes))
    made = folder / "made"
    section = f".note.stapsdt={folder / 'notes'}"
    subprocess.run(["objcopy", "--add-section", section, plain, made], check=True)
    return made


def main_of(program: Path) -> int:
    lines = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    return next(int(line.split()[0], 16) for line in lines.splitlines() if line.endswith(" main"))


def test_a_probe_is_one_event_at_all_its_places(program: Path) -> None:
    ((event, probe),) = find("usdt", "probed:plain", program)

    places = [note["Location"] for note in readelf(program) if note["Name"] == "plain"]
    assert (event.system, event.name, probe.returns) == ("usdt", "probed:plain", False)
    assert [f"{site.offset:#018x}" for site in probe.sites] == places
    assert [site.semaphore for site in probe.sites] == [0, 0]
    assert [(field.name, field.ctype, field.offset) for field in event.fields] == [
        ("ip", "void *", 0),
        ("arg1", "s32", 8),
        ("arg2", "u64", 16),
        ("arg3", "u8", 24),
    ]


def test_the_semaphore_is_told_by_its_place_in_the_file(program: Path) -> None:
    ((_, probe),) = find("usdt", "probed:guarded", program)

    (site,) = probe.sites
    headers = subprocess.run(
        ["readelf", "-SW", program], capture_output=True, text=True, check=True
    ).stdout
    (probes,) = (line.split("PROGBITS")[1] for line in headers.splitlines() if ".probes" in line)
    assert site.semaphore == int(probes.split()[1], 16)


def test_wildcards(program: Path) -> None:
    events = [event.name for event, _ in find("usdt", "probed:*", program)]
    assert events == ["probed:guarded", "probed:plain"]
    with pytest.raises(LimitExceeded) as caught:
        find("usdt", "*:*", program, most=1)
    assert str(caught.value).splitlines()[0] == (
        f"error: '*:*' matches 2 USDT probes of '{program}', at most 1 may be selected"
    )


def refusal(target: str, path: Path, error: type[TraceError]) -> str:
    with pytest.raises(error) as caught:
        find("usdt", target, path)
    return str(caught.value)


def test_a_probe_that_is_not_there(program: Path) -> None:
    assert refusal("probed:plan", program, NotFound) == (
        f"error: no USDT probe 'probed:plan' in '{program}' (did you mean 'probed:plain'?)\n"
        f'  usdt:probed:plan@"{program}"\n'
        "       ^~~~~~~~~~~"
    )
    assert refusal("other:x*", program, NotFound).splitlines()[0] == (
        f"error: no USDT probe 'other:x*' in '{program}'; it has probed:guarded, probed:plain"
    )


def test_a_file_without_probes() -> None:
    assert refusal("a:b", Path("/bin/true"), TraceError) == (
        "error: '/bin/true' has no USDT probes\n  usdt:a:b@\"/bin/true\"\n            ^~~~~~~~~"
    )


def test_arguments_that_differ_from_place_to_place(tmp_path: Path) -> None:
    main = main_of(with_notes(tmp_path))
    program = with_notes(
        tmp_path,
        note("one", "4@%eax 8@%rcx -4@%edx 8@%xmm0 1@%al", main),
        note("one", "8@%rbx 8@foo(%rip) 4@%esi 8@%rdi", main + 1),
    )

    ((event, probe),) = find("usdt", "test:one", program)

    # The widest type that an argument has, and only those that are known at both places.
    assert [(field.name, field.ctype) for field in event.fields[1:]] == [
        ("arg1", "u64"),
        ("arg3", "s64"),
    ]
    assert [site.record.split("; ")[1:] for site in probe.sites] == [
        ["record[1] = (u64)(u32)regs->ax", "record[2] = (u64)(s64)(s32)regs->dx;"],
        ["record[1] = (u64)(u64)regs->bx", "record[2] = (u64)(u32)regs->si;"],
    ]


def test_places_outside_of_code_and_semaphores_outside_of_data(tmp_path: Path) -> None:
    main = main_of(with_notes(tmp_path))
    program = with_notes(tmp_path, note("far", "", 1 << 40), note("odd", "", main, main))

    assert refusal("test:far", program, TraceError).splitlines()[0] == (
        f"error: USDT probe 'test:far' of '{program}' is not in its code"
    )
    assert refusal("test:odd", program, TraceError).splitlines()[0] == (
        f"error: the semaphore of USDT probe 'test:odd' is not in the data of '{program}'"
    )


def test_a_probe_in_too_many_places(tmp_path: Path) -> None:
    main = main_of(with_notes(tmp_path))
    program = with_notes(tmp_path, *[note("many", "", main)] * 257)

    assert refusal("test:many", program, LimitExceeded).splitlines()[0] == (
        "error: USDT probe 'test:many' is in 257 places, at most 256 work"
    )


def test_notes_that_are_cut_or_foreign(tmp_path: Path) -> None:
    main = main_of(with_notes(tmp_path))
    good = note("good", "8@%rax", main)
    foreign = good.replace(b"stapsdt", b"another")
    unprintable = note("b\x1b[2J", "", main)
    program = with_notes(tmp_path, foreign, unprintable, good, good[:-20])

    assert [event.name for event, _ in find("usdt", "*", program)] == ["test:good"]
