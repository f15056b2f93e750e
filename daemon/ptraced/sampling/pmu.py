"""Events of PMUs: PMU/TERM,TERM=VALUE,.../, in the terms that sysfs describes.

Documentation/ABI/testing/sysfs-bus-event_source-devices-format and -events.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ptraced.diagnostics import nearest, printable
from ptraced.numbers import TOO_LARGE, number

DEVICES = Path("/sys/bus/event_source/devices")
# Those whose events have names, or ways to be probed, of their own.
_OTHERS = frozenset(("software", "tracepoint", "breakpoint", "kprobe", "uprobe"))
# What other hosts call theirs.
_KNOWN = re.compile(r"cpu|cpu_core|cpu_atom|intel_pt|intel_bts|power|uncore_\w{1,99}", re.A)
_NAME = re.compile(r"\w[\w.-]{0,99}")
_RANGE = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")
_FORMAT = re.compile(r"(config[12]?):([0-9,-]+)")
_RAW = re.compile(r"r(?:0x)?([0-9a-fA-F]{1,16})")
_WORDS = ("config", "config1", "config2")
# Terms that perf takes beside those of the PMU.
_SAMPLING = ("period", "freq")
# Events have files with more about them.
_ABOUT = (".scale", ".unit", ".snapshot", ".per-pkg")


@dataclass(slots=True)
class PmuEvent:
    """`words` are config, config1 and config2; `sampling` has period and freq, if given."""

    type: int
    words: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_WORDS, 0))
    sampling: dict[str, int] = field(default_factory=dict)


class PmuError(Exception):
    """What is wrong with terms[start:end]."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


def is_pmu(name: str) -> bool:
    return (
        bool(_NAME.fullmatch(name)) and name not in _OTHERS and (DEVICES / name / "type").exists()
    )


def is_known(name: str) -> bool:
    """Whether hosts have a PMU of that name; maybe not this one."""
    return is_pmu(name) or bool(_KNOWN.fullmatch(name))


def pmu_events() -> list[str]:
    """The events that the host's PMUs have names for, as "msr/tsc/"."""
    return sorted(
        f"{device.name}/{event}/"
        for device in (DEVICES.iterdir() if DEVICES.is_dir() else ())
        if is_pmu(device.name)
        for event in _entries(device / "events")
        if not event.endswith(_ABOUT)
    )


def parse_terms(pmu: str, terms: str) -> PmuEvent:
    """The event that terms of a PMU mean; raises PmuError."""
    directory = DEVICES / pmu
    event = PmuEvent(int((directory / "type").read_text()))
    at = 0
    for part in terms.split(","):
        start = at + len(part) - len(part.lstrip())
        at += len(part) + 1
        term = part.strip()
        try:
            _apply(directory, event, term, aliases=True)
        except ValueError as error:
            raise PmuError(str(error), start, start + max(len(term), 1)) from None
    return event


def _apply(directory: Path, event: PmuEvent, term: str, aliases: bool) -> None:
    """Take one term into an event; raises ValueError."""
    name, equals, text = (piece.strip() for piece in term.partition("="))
    if not _NAME.fullmatch(name):
        raise ValueError(f"{directory.name}/.../ takes terms such as event=0x3c")
    value = _number(text) if equals else 1
    raw = _RAW.fullmatch(name)
    if name in _SAMPLING:
        event.sampling[name] = value
    elif name in _WORDS:
        event.words[name] = value
    elif (format := _text(directory / "format" / name)) is not None:
        _set_bits(event, name, format, value)
    elif aliases and not equals and (alias := _text(directory / "events" / name)) is not None:
        for part in alias.split(","):
            _apply(directory, event, part, aliases=False)
    elif raw and not equals:
        event.words["config"] = int(raw[1], 16)
    else:
        known = [*_entries(directory / "events"), *_entries(directory / "format")]
        raise ValueError(
            f"{directory.name} has no event or term '{printable(name)}'{nearest(name, known)}"
        )


def _number(text: str) -> int:
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}", text):
        raise ValueError(f"'{printable(text)}' is no number; 0x3c and 60 are")
    value = number(text)
    if value >= TOO_LARGE:
        raise ValueError(f"{text} has more than 64 bits")
    return value


def _set_bits(event: PmuEvent, name: str, format: str, value: int) -> None:
    """Put a value into the bits that a format such as "config:0-7,32-35" names."""
    described = _FORMAT.fullmatch(format)
    if described is None:
        raise ValueError(f"sysfs describes '{name}' in an unknown way: {printable(format)}")
    rest = value
    for part in described[2].split(","):
        bits = _RANGE.fullmatch(part)
        if bits is None:
            raise ValueError(f"sysfs describes '{name}' in an unknown way: {printable(format)}")
        low, high = int(bits[1]), int(bits[2] or bits[1])
        mask = (1 << max(high - low + 1, 0)) - 1
        event.words[described[1]] |= (rest & mask) << low
        rest >>= mask.bit_length()
    if rest:
        raise ValueError(f"0x{value:x} does not fit into '{name}' ({format})")


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _entries(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
