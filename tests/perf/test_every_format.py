"""Every tracepoint format of this kernel: perf and we tell scripts the same of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from made_recording import raw_record, write
from recordings import clean_environment, perf
from sidebyside import CLIENT, first_difference, run_both, run_perf

from ptrace_client.perf_script.defines import DefineWalk, handler_name
from ptrace_client.perf_script.fields import field_code
from ptrace_formats.event_format import EventFormat, parse_format
from ptraced.tracefs import Tracefs

# Text that prints, text that does not, and then text again, which is none any more.
VARIANTS = range(3)
# Prints what is told of events: definitions and fields, with their types.
RECORDER = """
def taker(name):
    return lambda *arguments: print(repr((name, arguments)))

for name in ("flag_field", "flag_value", "symbolic_field", "symbolic_value"):
    globals()["define_" + name] = taker("define_" + name)

def trace_unhandled(event_name, context, fields):
    print(repr((event_name, list(fields.items())[6:])))
"""
# Lines of a starter script that differ since perf's is no Python: its names are keywords, or
# those of other arguments.
RENAMED = ("from", "pass", "context", "print")


@dataclass
class Made:
    """A recording with samples of every event."""

    path: Path
    formats: list[EventFormat]
    records: list[list[bytes]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    texts = sorted(_formats(), key=_first_defined)
    records = [[raw_record(format, variant) for variant in VARIANTS] for format, _ in texts]
    path = tmp_path_factory.mktemp("formats") / "perf.data"
    write(path, texts, records)
    return Made(path, [format for format, _ in texts], records)


def _formats() -> Iterator[tuple[EventFormat, str]]:
    for path in sorted((Tracefs.find().root / "events").glob("*/*/format")):
        text = path.read_text()
        yield parse_format(path.parts[-3], text), text


def _first_defined(each: tuple[EventFormat, str]) -> bool:
    """Put an event first that names a field: without any, perf dies of the first constant."""
    return each[0].title != "sched:sched_wakeup"


@pytest.mark.needs_kernel("tracefs")
def test_definitions_and_fields_are_those_of_perf(made: Made, tmp_path: Path) -> None:
    # GIVEN samples of every event, whose values show place, size and sign of their fields
    script = tmp_path / "told.py"
    script.write_text(RECORDER)
    # WHEN perf tells a script of them
    told = run_perf(made.path, script)
    assert (told.status, len(made.formats) > 1000) == (0, True), told.stderr
    # THEN we would tell it the same
    walk = DefineWalk()
    lines: list[str] = []
    for format, records in zip(made.formats, made.records, strict=True):
        lines += [repr(call) for call in walk.calls(format)]
        read = field_code(format).reader()
        names = [each.name for each in format.fields]
        for record in records:
            values = zip(names, read(record, 0, len(record)), strict=True)
            lines.append(repr((handler_name(format), list(dict(values).items()))))
    assert first_difference(told.stdout, "".join(f"{line}\n" for line in lines)) == ""


@pytest.mark.needs_kernel("tracefs")
def test_a_recorder_sees_the_same(made: Made) -> None:
    # Of every event first unhandled, then by a handler with the sample's dictionary.
    script = Path(__file__).with_name("recorder.py")
    theirs, ours = run_both(made.path, script)
    assert (theirs.status, ours.status) == (0, 0), ours.stderr
    assert first_difference(theirs.stdout, ours.stdout) == ""
    assert theirs.stdout.count("trace_unhandled") == len(made.formats)


@pytest.mark.needs_kernel("tracefs")
def test_the_starter_script_of_all_events_is_perfs(made: Made, tmp_path: Path) -> None:
    # GIVEN the script that perf makes of every event
    command = [perf(), "script", "-i", str(made.path), "-g", "python"]
    subprocess.run(command, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    perfs = _code((tmp_path / "perf-script.py").read_text())
    # WHEN we make ours
    command = [CLIENT, "template", "--dialect", "perf-script", "-i", str(made.path)]
    ours_text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # THEN they are the same but for comments, and for names that Python does not take
    ours = _code(ours_text)
    assert len(perfs) == len(ours)
    for theirs, own in zip(perfs, ours, strict=True):
        if theirs != own:
            for name in RENAMED:
                own = own.replace(f"{name}_", name)
            assert theirs == own
    # AND perf and we run ours, alike
    script = tmp_path / "ours.py"
    script.write_text(ours_text)
    run, own_run = run_both(made.path, script)
    assert (run.status, run.stdout.count("Sample: {")) == (0, 3 * len(made.formats)), run.stderr
    assert first_difference(run.stdout, own_run.stdout) == ""


def _code(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]
