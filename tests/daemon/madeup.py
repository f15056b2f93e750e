"""Events that no kernel has, as tracefs would describe them."""

from __future__ import annotations

from pathlib import Path

from ptrace_formats.event_format import EventFormat, parse_format
from ptraced.tracefs import Tracefs

# Declaration, offset and size in bytes, whether it is signed.
Declared = tuple[str, int, int, bool]

_HEAD = """\
name: {name}
ID: {id}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""


def format_text(name: str, event_id: int, *fields: Declared) -> str:
    """The text of a `format` file."""
    lines = [
        f"\tfield:{declaration};\toffset:{offset};\tsize:{size};\tsigned:{int(signed)};\n"
        for declaration, offset, size, signed in fields
    ]
    return _HEAD.format(name=name, id=event_id) + "".join(lines) + '\nprint fmt: ""\n'


def event(system: str, name: str, *fields: Declared, event_id: int = 1) -> EventFormat:
    """An event's parsed format."""
    return parse_format(system, format_text(name, event_id, *fields))


def make_tracefs(root: Path, events: dict[str, tuple[Declared, ...]]) -> Tracefs:
    """A tracefs at `root` that has these events, by "system:name"; ids count from 1."""
    for event_id, (full_name, fields) in enumerate(events.items(), 1):
        system, _, name = full_name.partition(":")
        directory = root / "events" / system / name
        directory.mkdir(parents=True)
        (directory / "id").write_text(f"{event_id}\n")
        (directory / "format").write_text(format_text(name, event_id, *fields))
    return Tracefs(root)
