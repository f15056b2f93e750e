"""Files that lie: whoever wrote them gets an error of one line, soon, and nobody else notices."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import json
import os
import platform
import random
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from probed_files import build, find

from ptraced import sandbox
from ptraced.errors import LimitExceeded, TraceError, Unavailable
from ptraced.probes import elf_ask, elf_worker
from ptraced.probes.elf_answer import Argument, Found, FoundSite, Refused, from_json, to_json
from ptraced.probes.user_places import RETURNED, Place

pytestmark = pytest.mark.usefixtures("kernel_with_uprobes")

KERNEL_TESTS = Path(__file__).parent.parent / "kernel"
# Seconds: the worker may have ten of the CPU, and nothing here needs them.
SOON = 20


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program with functions, debug information and USDT probes."""
    target = tmp_path_factory.mktemp("program") / "program"
    subprocess.run(["gcc", "-g", "-O2", "-o", target, KERNEL_TESTS / "probed.c"], check=True)
    return target.read_bytes()


def check(path: Path, kind: str, target: str) -> None:
    """Whatever is found is well-formed, and what is said has three lines."""
    started = time.monotonic()
    said = "\n\n"
    try:
        for event, probe in find(kind, target, path, most=1000):
            assert event.name.isprintable()
            assert probe.sites
    except TraceError as error:
        said = str(error)
    assert said.count("\n") == 2
    assert "daemon's log" not in said
    assert time.monotonic() - started < SOON


QUESTIONS = [("uprobe", "*"), ("uretprobe", "named"), ("usdt", "*"), ("uprobe", "mixed+4")]


@pytest.mark.parametrize("seed", range(24))
def test_damaged_files(program: bytes, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    damaged = bytearray(program)
    # Headers, tables and debug information: each part gets its share.
    for _ in range(chance.choice([1, 4, 40, 400])):
        start = chance.choice([0, 0, len(damaged) // 2, len(damaged) - 4096])
        at = chance.randrange(start, len(damaged) if start else 1024)
        damaged[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    damaged[:20] = program[:20]
    (tmp_path / "damaged").write_bytes(damaged)

    check(tmp_path / "damaged", *QUESTIONS[seed % len(QUESTIONS)])


@pytest.mark.parametrize("parts", range(1, 8))
def test_cut_files(program: bytes, tmp_path: Path, parts: int) -> None:
    (tmp_path / "cut").write_bytes(program[: len(program) * parts // 8])

    check(tmp_path / "cut", *QUESTIONS[parts % len(QUESTIONS)])


def section_headers(program: bytes) -> list[int]:
    """Where the section headers are in the file."""
    (start,) = struct.unpack_from("<Q", program, 0x28)
    size, count = struct.unpack_from("<HH", program, 0x3A)
    return [start + number * size for number in range(count)]


@pytest.mark.parametrize("size", [1 << 40, (1 << 64) - 1, 1 << 29])
@pytest.mark.parametrize("question", QUESTIONS)
def test_sections_that_claim_to_be_huge(
    program: bytes, tmp_path: Path, question: tuple[str, str], size: int
) -> None:
    lying = bytearray(program)
    for header in section_headers(program)[1:]:
        struct.pack_into("<Q", lying, header + 0x20, size)
    path = tmp_path / "lying"
    path.write_bytes(lying)
    with path.open("r+b") as file:
        # Holes that read as zeros, for gigabytes.
        file.truncate(4 << 30)

    check(path, *question)


def test_a_compressed_section_that_grows_without_end(tmp_path: Path) -> None:
    # GIVEN debug information that is compressed a thousandfold: a gigabyte of zeros
    import zlib

    program = build(tmp_path / "program.c", "int main(void) { return 0; }", "-g", "-gz")
    bomb = tmp_path / "bomb"
    packer = zlib.compressobj(9)
    start = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    part = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = start + part * 1023 + packer.flush()
    bomb.write_bytes(struct.pack("<IIQQ", 1, 0, 1000, 1) + packed)
    subprocess.run(["objcopy", "--update-section", f".debug_info={bomb}", program], check=True)

    check(program, "uprobe", "main")


def test_a_name_that_acts_on_terminals(tmp_path: Path) -> None:
    # GIVEN a function whose name clears the screen
    library = build(tmp_path / "clear.c", "void clear(void) { }\nvoid clean(void) { }")
    library.write_bytes(library.read_bytes().replace(b"\0clear\0", b"\0c\x1b[2J\0"))

    assert [event.name for event, _ in find("uprobe", "c*", library)] == ["clean"]
    with pytest.raises(TraceError) as caught:
        find("uprobe", "c\x1b[2j", library)
    assert "\x1b" not in str(caught.value)


FOUND = {
    "name": "f",
    "arguments": [{"number": 1, "name": "a", "ctype": "int", "kind": "signed", "size": 4}],
    "sites": [
        {
            "address": 1,
            "offset": 1,
            "semaphore": 0,
            "places": [
                {
                    "what": "register",
                    "base": "rdi",
                    "displacement": 0,
                    "index": "",
                    "scale": 1,
                    "size": 4,
                    "signed": True,
                }
            ],
        }
    ],
}


def changed(found: dict[str, object], *path: str | int, to: object) -> dict[str, object]:
    import copy

    result = copy.deepcopy(found)
    part: object = result
    for step in path[:-1]:
        part = part[step]  # type: ignore[index]
    part[path[-1]] = to  # type: ignore[index]
    return result


PLACE = ("sites", 0, "places", 0)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("name",), 7),
        (("name",), "f\n"),
        (("name",), "f" * 30_000),
        (("arguments", 0, "kind"), "text"),
        (("arguments", 0, "size"), 3),
        (("arguments", 0, "number"), -1),
        (("arguments", 0, "ctype"), None),
        (("arguments",), []),
        (("sites",), []),
        (("sites", 0, "offset"), 1 << 64),
        (("sites", 0, "offset"), "1"),
        (("sites", 0, "semaphore"), True),
        ((*PLACE, "base"), "rdi; system()"),
        ((*PLACE, "index"), "x"),
        ((*PLACE, "what"), "code"),
        ((*PLACE, "scale"), 3),
        ((*PLACE, "size"), 16),
        ((*PLACE, "displacement"), 1 << 63),
        ((*PLACE, "displacement"), "0"),
        ((*PLACE, "more"), 1),
        # In Python they are equal to what may be said.
        (("arguments", 0, "size"), 4.0),
        (("arguments", 0, "size"), True),
        ((*PLACE, "scale"), True),
        ((*PLACE, "size"), 4.0),
        ((*PLACE, "signed"), 1),
        ((*PLACE, "signed"), "yes"),
    ],
)
def test_a_worker_that_was_taken_over_cannot_say_what_it_likes(
    path: tuple[str | int, ...], to: object
) -> None:
    assert from_json({"found": [FOUND]})[0].name == "f"
    with pytest.raises(ValueError, match=r"."):
        from_json({"found": [changed(FOUND, *path, to=to)]})


@pytest.mark.parametrize("answer", [[], None, {"found": 1}, {"error": "SystemExit"}])
def test_answers_that_are_none(answer: object) -> None:
    with pytest.raises(ValueError, match=r"^not an answer of ours"):
        from_json(answer)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Takes the place of the process."""
    monkeypatch.setattr(elf_ask, "_memory", elf_ask._Memory())
    return lambda run: monkeypatch.setattr(elf_ask, "_run", run)


def said() -> str:
    with pytest.raises(TraceError) as caught:
        find("uprobe", "main", "/bin/true")
    return str(caught.value).splitlines()[0]


def ended(status: int, answer: bytes = b"") -> Callable[..., object]:
    return lambda *_, **__: (status, answer)


def test_what_becomes_of_the_worker_is_told(
    worker: Callable[[Callable[..., object]], None],
) -> None:
    worker(ended(-9))
    assert said() == "error: '/bin/true' takes more time or memory to read than is allowed"
    worker(ended(1))
    assert said() == (
        "error: '/bin/true' cannot be read: the reader ended with status 1, its own message is in "
        "the daemon's log"
    )
    worker(ended(0, b"{"))
    assert said() == "error: '/bin/true' is damaged: it cannot be read"

    def late(*_: object, **__: object) -> object:
        raise TimeoutError

    worker(late)
    assert said() == "error: '/bin/true' takes too long to read"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a shell command in place of the worker."""
    monkeypatch.setattr(elf_ask, "_memory", elf_ask._Memory())
    return lambda text: monkeypatch.setattr(elf_ask, "_COMMAND", ("sh", "-c", text))


def test_a_worker_that_writes_without_end_is_stopped(command: Callable[[str], None]) -> None:
    command("yes")
    tracemalloc.start()
    try:
        assert said() == "error: '/bin/true' takes more time or memory to read than is allowed"
        assert tracemalloc.get_traced_memory()[1] < 4 * elf_ask.ANSWER_BYTES_MAX
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["exec sleep 1000", "exec >&-; exec sleep 1000", "sleep 1000 &"])
def test_a_worker_that_does_not_end_is_not_waited_for(
    command: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    # GIVEN a worker that holds a FIFO open, and what it starts with it
    os.mkfifo(tmp_path / "held")
    held = os.open(tmp_path / "held", os.O_RDONLY | os.O_NONBLOCK)
    command(f"exec 9>{tmp_path}/held; {text}")
    monkeypatch.setattr(elf_ask, "_PATIENCE", 0.3)

    assert said() == "error: '/bin/true' takes too long to read"

    # THEN nobody holds it any more
    os.set_blocking(held, True)
    assert os.read(held, 1) == b""
    os.close(held)


def test_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf_ask, "_memory", elf_ask._Memory())
    monkeypatch.setattr(elf_ask, "_COMMAND", ("/no/such",))

    assert said() == "error: '/bin/true' cannot be read: No such file or directory"


def test_where_others_are_read_all_the_time_one_has_to_come_again(
    worker: Callable[[Callable[..., object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(ended(-9))
    monkeypatch.setattr(elf_ask, "_WORKERS", threading.BoundedSemaphore(1))
    monkeypatch.setattr(elf_ask, "_PATIENCE", 0.01)

    with elf_ask._WORKERS, pytest.raises(Unavailable) as caught:
        find("uprobe", "main", "/bin/true")

    assert str(caught.value).splitlines()[0] == (
        "error: '/bin/true' has to wait for other files that are being read; try again"
    )
    assert said() == "error: '/bin/true' takes more time or memory to read than is allowed"


def test_long_names_are_cut_before_they_are_told() -> None:
    argument = Argument(1, "a\n" * 5000, "struct " + "b" * 100_000, "pointer", 8)
    site = FoundSite(1, 1, (Place("register", RETURNED[platform.machine()]),))

    (found,) = from_json(to_json([Found("f", (argument,), (site,))]))

    assert found.arguments[0].name == "a?" * 100
    assert found.arguments[0].ctype == "struct " + "b" * 193


def test_an_answer_that_would_be_too_large_is_a_refusal() -> None:
    large = {"found": ["x" * elf_ask.ANSWER_BYTES_MAX]}

    with pytest.raises(Refused) as caught:
        from_json(json.loads(elf_worker.encoded(large, "/lib/x")))

    assert caught.value.error is LimitExceeded
    assert str(caught.value) == (
        "there is too much to tell of what is meant in '/lib/x'; fewer at once do"
    )


def test_what_takes_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def image(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(elf_worker, "Image", image)

    assert elf_worker.answer(io.BytesIO(), {"shown": "/lib/x", "machine": "x86_64"}) == {
        "error": "TraceError",
        "message": "'/lib/x' takes more memory to read than is allowed",
        "part": "path",
    }


def test_a_worker_that_keeps_its_rights_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def capset(self, *_: object) -> int:
            ctypes.set_errno(errno.EPERM)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library())

    with pytest.raises(PermissionError):
        sandbox.give_up_privileges()


def test_two_files_are_read_at_a_time(
    worker: Callable[[Callable[..., object]], None],
) -> None:
    # GIVEN workers that end when they are told to
    told, running, most = threading.Event(), threading.Semaphore(0), []
    alive = 0
    lock = threading.Lock()

    def run(*_: object, **__: object) -> object:
        nonlocal alive
        with lock:
            alive += 1
            most.append(alive)
        running.release()
        told.wait(SOON)
        with lock:
            alive -= 1
        return ended(-9)()

    worker(run)

    def ask(number: int) -> None:
        with contextlib.suppress(TraceError, Refused):
            find("uprobe", f"main{number}", "/bin/true")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    assert running.acquire(timeout=SOON)
    assert running.acquire(timeout=SOON)
    assert not running.acquire(blocking=False)
    told.set()
    for thread in threads:
        thread.join()

    assert len(most) == 5
    assert max(most) == 2


def test_memory_of_answers_is_bounded() -> None:
    memory = elf_ask._Memory()
    for number in range(100):
        memory.put((number,), b"x" * 100_000)

    kept = [number for number in range(100) if memory.get((number,)) is not None]
    assert kept == list(range(100 - len(kept), 100))
    assert len(kept) == elf_ask._KEPT_BYTES // 100_000
    memory.put(("large",), b"x" * (elf_ask._KEPT_BYTES + 1))
    assert memory.get(("large",)) is None
