"""Names, offsets and files of all samples are those that perf tells."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from recordings import Recorder, clean_environment, perf
from sidebyside import CLIENT, first_difference, run_both, run_ours, together

from unprivileged import as_user

pytestmark = pytest.mark.needs_kernel("tracefs", "perf events")

HERE = Path(__file__).parent
SCRIPT = HERE / "places.py"
STACKS = ("-e", "cpu-clock", "-F", "2000", "-g")
# What the recorded programs left of their code that was made at run time.
JITTED: set[str] = set()
FAULTS = ("-e", "page-faults", "-c", "1", "-d", "-g")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that all users may look into."""
    with tempfile.TemporaryDirectory(prefix="places-") as path:
        folder = Path(path)
        folder.chmod(0o755)
        yield folder
    for jitted in JITTED:
        Path(jitted).unlink(missing_ok=True)


def _build(path: Path, *options: str) -> Path:
    command = ["gcc", "-O1", "-fno-omit-frame-pointer", "-Wl,--build-id", HERE / "places.c"]
    subprocess.run([*command, "-o", path, "-lm", "-lpthread", *options], check=True, timeout=60)
    return path


def _record(
    path: Path, program: Path, options: Sequence[str] = STACKS, *, pipe: bool = False
) -> Path:
    """Record what a program does, with perf's copies of files in a folder of their own."""
    home = path.with_suffix(".home")
    home.mkdir(exist_ok=True)
    command = [perf(), "record", "-q", "-o", "-" if pipe else str(path), *options]
    done = subprocess.run(
        [*command, "--", str(program), "10"],
        env=clean_environment(HOME=str(home)),
        cwd=path.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    if pipe:
        path.write_bytes(done.stdout)
    assert path.exists(), done.stderr.decode()
    return path


def _same(path: Path, *options: str, arguments: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Check that both tell the same of each sample; return what."""
    perfs, ours = run_both(path, SCRIPT, *arguments, options=options)

    JITTED.update(re.findall(r"/tmp/perf-\d+\.map", perfs.stdout))
    assert not first_difference(perfs.stdout, ours.stdout)
    assert (perfs.status, ours.status) == (0, 0), ours.stderr
    return [json.loads(line) for line in ours.stdout.splitlines()]


def _symbols(samples: list[dict[str, Any]]) -> set[str]:
    return {entry["sym"]["name"] for one in samples for entry in one["callchain"] if "sym" in entry}


@pytest.mark.parametrize("options", [(), ("-no-pie",), ("-static",)])
def test_stacks_in_all_kinds_of_memory(folder: Path, options: Sequence[str]) -> None:
    program = _build(folder / "places", *options)

    samples = _same(_record(folder / "stacks.data", program))

    names = _symbols(samples)
    assert {"space::thing<int>::step", "crate::module::work", "sizeless", "own_code"} <= names
    assert "made at run time" in names
    assert {"[kernel.kallsyms]", "[vdso]", str(program)} <= {one.get("dso") for one in samples}
    assert {"places", "renamed"} <= {one["comm"] for one in samples}


def test_instructions_and_source_lines(folder: Path) -> None:
    program = _build(folder / "lines", "-g", "-no-pie", "-Wl,-Ttext-segment=0x600000")

    samples = _same(_record(folder / "lines.data", program), arguments=("code",))

    own = [one for one in samples if one.get("symbol") == "space::thing<int>::step"]
    assert own
    source = (HERE / "places.c").read_text().splitlines()
    for one in own:
        path, line, text = one["srccode"]
        assert one["srcline"] == [path, line] == [str(HERE / "places.c"), line]
        assert text == source[line - 1]
        assert one["insn"]


def test_inlined_functions_and_lines_are_in_chains_if_wanted(folder: Path) -> None:
    program = _build(folder / "inline", "-g")
    path = _record(folder / "inline.data", program)

    plain, inlined = together(
        lambda: run_ours(path, SCRIPT), lambda: run_ours(path, SCRIPT, options=("--inline",))
    )

    assert "sym_srcline" not in plain.stdout
    assert '"sym_srcline": "places.c:' in inlined.stdout


@pytest.mark.parametrize("name", ["fault-stacks", "uprobes"])
def test_stacks_of_the_shared_recordings(recording: Recorder, name: str) -> None:
    samples = _same(recording(name))

    assert any("sym" in entry for one in samples for entry in one["callchain"])


@pytest.mark.parametrize("options", [("-g",), ("-s", "-rdynamic")])
def test_stacks_that_perf_unwinds(folder: Path, options: Sequence[str]) -> None:
    program = _build(folder / "unwound", *options, "-O2", "-fomit-frame-pointer")
    dwarf = ("-e", "cpu-clock", "-F", "500", "--call-graph", "dwarf,4096")

    samples = _same(_record(folder / "unwound.data", program, dwarf))

    assert {"main", "own_code", "_start"} <= _symbols(samples)
    lines = {entry.get("sym_srcline", "") for one in samples for entry in one["callchain"]}
    assert any(line.startswith("places.c:") for line in lines) is (options == ("-g",))


def test_a_stripped_program_has_its_exports_only(folder: Path) -> None:
    program = _build(folder / "stripped", "-s", "-rdynamic")

    names = _symbols(_same(_record(folder / "stripped.data", program)))

    assert "own_code" in names
    assert "crate::module::work" not in names


def test_data_has_symbols_too(folder: Path) -> None:
    program = _build(folder / "faults")

    samples = _same(_record(folder / "faults.data", program, FAULTS))

    assert "table" in {one.get("addr_symbol") for one in samples}


@pytest.mark.parametrize(
    ("options", "pipe"), [((), True), (("--buildid-mmap",), False), (("-a",), False)]
)
def test_recordings_of_other_kinds(folder: Path, options: Sequence[str], pipe: bool) -> None:
    program = _build(folder / "kinds")

    samples = _same(_record(folder / "kinds.data", program, (*STACKS, *options), pipe=pipe))

    assert "space::thing<int>::step" in _symbols(samples)


def test_files_that_were_replaced_or_removed_since(folder: Path) -> None:
    program = _build(folder / "replaced")
    path = _record(folder / "replaced.data", program)
    before = _same(path)
    shutil.move(path.with_suffix(".home"), folder / "elsewhere")

    _build(program, "-DOTHER", "-O2")
    replaced = _same(path)
    program.unlink()
    removed = _same(path)

    # Both have no copies of what was recorded.
    assert "own_code" in _symbols(before)
    assert "own_code" not in _symbols(replaced) | _symbols(removed)
    # With the copies it is as before.
    arguments = [CLIENT, "run", "--input", str(path), str(SCRIPT)]
    copies = str(folder / "elsewhere/.debug")
    done = subprocess.run(
        arguments,
        env=clean_environment(PERF_BUILDID_DIR=copies),
        capture_output=True,
        text=True,
        timeout=60,
    )
    names = _symbols([json.loads(line) for line in done.stdout.splitlines()])
    assert "own_code" in names
    # The vdso has its names from nowhere else.
    assert names - _symbols(before) == {"__vdso_clock_gettime"}


def test_a_recording_of_another_host_has_no_names_of_this_one(folder: Path) -> None:
    program = _build(folder / "foreign")
    path = _record(folder / "foreign.data", program)
    data = path.read_bytes()
    notes = Path("/sys/kernel/notes").read_bytes()
    own = subprocess.run(["readelf", "-n", program], capture_output=True, text=True, check=True)
    for id in (notes[16:36], bytes.fromhex(own.stdout.partition("Build ID: ")[2].split()[0])):
        assert id in data
        data = data.replace(id, id[::-1])
    path.write_bytes(data)

    samples = _same(path)

    own_symbols = [one for one in samples if one.get("dso") in ("[kernel.kallsyms]", str(program))]
    assert own_symbols
    assert not any("symbol" in one for one in own_symbols)


def test_a_user_without_privileges_needs_no_kernel_for_a_recording(folder: Path) -> None:
    program = _build(folder / "user")
    path = _record(folder / "user.data", program)
    path.chmod(0o644)
    kallsyms = folder / "kallsyms-for-users"
    kallsyms.write_bytes(Path("/proc/kallsyms").read_bytes())
    kallsyms.chmod(0o644)
    mine = _same(path, "--kallsyms", str(kallsyms))

    command = [CLIENT, "run", "--input", str(path), "--kallsyms", str(kallsyms), str(SCRIPT)]
    done = subprocess.run(
        as_user(command),
        env=clean_environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == mine
    assert any(one.get("dso") == "[kernel.kallsyms]" and "symbol" in one for one in mine)


def test_a_file_of_another_user_is_read_as_far_as_it_may_be(folder: Path) -> None:
    program = _build(folder / "secret")
    path = _record(folder / "secret.data", program)
    path.chmod(0o644)
    program.chmod(0o700)

    done = subprocess.run(
        as_user([CLIENT, "run", "--input", str(path), str(SCRIPT)]),
        env=clean_environment(HOME=os.devnull),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    samples = [json.loads(line) for line in done.stdout.splitlines()]
    of_program = [one for one in samples if one.get("dso") == str(program)]
    assert of_program
    assert not any("symbol" in one for one in of_program)
