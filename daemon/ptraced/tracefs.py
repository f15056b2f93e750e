"""Tracepoints as tracefs lists and describes them.

The layout of a record is in events/SYSTEM/NAME/format (Documentation/trace/events.rst,
"Event formats"); how the kernel writes its lines is __trace_define_field and f_show in
kernel/trace/trace_events.c.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptrace_proto import ptrace_pb2 as pb
from ptraced.c_types import named_type
from ptraced.diagnostics import nearest, printable
from ptraced.errors import NotFound, Unavailable

_MOUNT_POINT = Path("/sys/kernel/tracing")
_MOUNTINFO = Path("/proc/self/mountinfo")
# Its events describe records of other tracers; no BPF program can be attached to them.
_NOT_TRACEPOINTS = "ftrace"
_NAME = re.compile(r"[\w.-]+")
_FIELD = re.compile(
    r"\tfield:(?P<declaration>[^;]*);\toffset:(?P<offset>\d+);\t"
    r"size:(?P<size>\d+);(?:\tsigned:(?P<signed>[01]);)?"
)
_DECLARATION = re.compile(
    r"(?P<locator>__data_loc |__rel_loc )?(?P<type>.*?)\s*"
    r"(?P<name>[A-Za-z_]\w*)(?P<array>(?:\[[^]]*\])*)"
)
_INTEGER_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class FormatField:
    """A field of a record; sizes and offset in bytes.

    Of dynamic fields offset and size are those of the locator, a u32: length of the data
    << 16 | where it starts, counted from the start of the record, or from the end of the
    locator if `relative`. element_size and element_signed are of the elements of an array,
    and those of the field itself otherwise. `pointed` is not 0 for text in user memory that a
    pointer in the record leads to: the most bytes that are read of it, the closing NUL included.
    """

    name: str
    ctype: str
    kind: pb.FieldKind
    offset: int
    size: int
    signed: bool
    element_size: int
    element_signed: bool
    relative: bool
    pointed: int = 0


@dataclass(frozen=True, slots=True)
class EventFormat:
    """What the `format` file of an event says; `id` is the common_type of its records."""

    system: str
    name: str
    id: int
    common: tuple[FormatField, ...]
    fields: tuple[FormatField, ...]
    print_fmt: str

    @property
    def title(self) -> str:
        """What users call it: "system:name", or the name alone of events without a system."""
        return f"{self.system}:{self.name}" if self.system else self.name

    def field(self, name: str) -> FormatField | None:
        """Return the event's own field of that name; common fields are not looked at."""
        return next((field for field in self.fields if field.name == name), None)


class Tracefs:
    """A mounted tracefs at `root`. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listing: dict[str, list[str]] = {}
        self._names: list[str] = []
        self._formats: dict[tuple[str, str], EventFormat] = {}

    @classmethod
    def find(cls) -> Tracefs:
        """Return tracefs where it is mounted; mount it at /sys/kernel/tracing if it is not.

        Raises Unavailable where that is not possible, saying what to do.
        """
        found = mounted_at(_MOUNTINFO.read_text())
        if found is None:
            _mount(_MOUNT_POINT)
            found = _MOUNT_POINT
        if not os.access(found / "events", os.R_OK | os.X_OK, effective_ids=True):
            raise Unavailable(
                f"error: {found}/events cannot be read: run as root or give this program "
                "the capability CAP_DAC_READ_SEARCH"
            )
        return cls(found)

    def names(self) -> list[str]:
        """Return "system:name" of all tracepoints, sorted.

        Directories are listed every time (1 ms), since modules add events; whether each event
        has an id, so that it can be opened as a perf event, is looked up only after a change.
        """
        listing = self._list()
        if listing != self._listing:
            events = self.root / "events"
            self._names = sorted(
                f"{system}:{name}"
                for system, names in listing.items()
                for name in names
                if (events / system / name / "id").exists()
            )
            self._listing = listing
        return list(self._names)

    def format(self, system: str, name: str) -> EventFormat:
        """Return the format of an event; raises NotFound, with a suggestion, or Unavailable."""
        directory = self.root / "events" / system / name
        try:
            if not _NAME.fullmatch(system) or not _NAME.fullmatch(name):
                raise FileNotFoundError
            # A module that was loaded anew has new ids, and maybe new formats.
            event_id = int((directory / "id").read_text())
            known = self._formats.get((system, name))
            if known is None or known.id != event_id:
                known = parse_format(system, (directory / "format").read_text())
                self._formats[system, name] = known
            return known
        except (FileNotFoundError, NotADirectoryError):
            wanted = f"{system}:{name}"
            raise NotFound(
                f"error: no event '{printable(wanted)}'{nearest(wanted, self.names())}"
            ) from None
        except OSError as error:
            raise Unavailable(
                f"error: {error.filename}: {error.strerror}: run as root or give this program "
                "the capability CAP_DAC_READ_SEARCH"
            ) from None

    def _list(self) -> dict[str, list[str]]:
        listing = {}
        try:
            systems = list(_subdirectories(self.root / "events"))
        except FileNotFoundError:
            raise Unavailable(
                f"error: tracefs is not mounted at {self.root} any more; as root: "
                f"mount -t tracefs tracefs {self.root}"
            ) from None
        for system in systems:
            if system != _NOT_TRACEPOINTS:
                # A module may be unloaded while we look.
                with contextlib.suppress(FileNotFoundError):
                    listing[system] = list(_subdirectories(self.root / "events" / system))
        return listing


def mounted_at(mountinfo: str) -> Path | None:
    """Return where text like /proc/self/mountinfo (proc(5)) says that tracefs is mounted."""
    for line in mountinfo.splitlines():
        own, _, other = line.partition(" - ")
        _, _, _, root, mount_point, *_ = own.split(" ")
        if other.startswith("tracefs ") and root == "/":
            return Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount_point))
    return None


def parse_format(system: str, text: str) -> EventFormat:
    """Parse the text of a `format` file."""
    head, _, print_fmt = text.partition("\nprint fmt: ")
    name = re.search(r"^name: (.*)$", head, re.MULTILINE)
    event_id = re.search(r"^ID: (\d+)$", head, re.MULTILINE)
    if name is None or event_id is None:
        raise Unavailable(f"error: tracefs describes an event of '{system}' in an unknown way")
    # A blank line separates the fields that all events have from the event's own.
    common, _, own = head.partition("format:\n")[2].partition("\n\n")
    return EventFormat(
        system=system,
        name=name[1],
        id=int(event_id[1]),
        common=tuple(_fields(common)),
        fields=tuple(_fields(own)),
        print_fmt=print_fmt.removesuffix("\n"),
    )


def _subdirectories(path: Path) -> Iterator[str]:
    with os.scandir(path) as entries:
        yield from (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def _mount(target: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tracefs", os.fsencode(target), b"tracefs", ctypes.c_ulong(0), None):
        reason = os.strerror(ctypes.get_errno())
        raise Unavailable(
            f"error: tracefs is not mounted and cannot be mounted here ({reason}): "
            f"run as root: mount -t tracefs tracefs {target}"
        )


def _fields(text: str) -> Iterator[FormatField]:
    for line in _FIELD.finditer(text):
        declared = _DECLARATION.fullmatch(line["declaration"])
        if declared is None:
            raise Unavailable(f"error: unknown field in tracefs: {line['declaration']}")
        yield _field(line, declared)


def _field(line: re.Match[str], declared: re.Match[str]) -> FormatField:
    locator, base, array = declared["locator"] or "", declared["type"], declared["array"]
    size, signed = int(line["size"]), line["signed"] == "1"
    words = [word for word in base.replace("[]", "").split() if word not in ("const", "volatile")]
    element_size, element_signed = size, signed
    if locator:
        kind = pb.FIELD_KIND_DYNAMIC_STRING if words == ["char"] else pb.FIELD_KIND_DYNAMIC_BYTES
        element_size, element_signed = _element(words)
    elif array:
        kind = pb.FIELD_KIND_CHAR_ARRAY if words == ["char"] else pb.FIELD_KIND_BYTES
        element_size = _element(words)[0]
    else:
        kind = _scalar_kind(words, size, signed)
    return FormatField(
        name=declared["name"],
        ctype=f"{locator}{base}{array}",
        kind=kind,
        offset=int(line["offset"]),
        size=size,
        signed=signed,
        element_size=element_size,
        element_signed=element_signed,
        relative=locator == "__rel_loc ",
    )


def _scalar_kind(words: list[str], size: int, signed: bool) -> pb.FieldKind:
    if "*" in "".join(words):
        return pb.FIELD_KIND_POINTER
    if words[:1] in (["struct"], ["union"]) or size not in _INTEGER_SIZES:
        return pb.FIELD_KIND_BYTES
    if size == 1 and words in (["bool"], ["_Bool"]):
        return pb.FIELD_KIND_BOOL
    return pb.FIELD_KIND_SIGNED if signed else pb.FIELD_KIND_UNSIGNED


def _element(words: list[str]) -> tuple[int, bool]:
    """Size in bytes and sign of an array's elements; single bytes where the type is unknown."""
    if "*" in "".join(words):
        return 8, False
    if words == ["cpumask_t"]:
        # Bits in an array of unsigned long (include/linux/cpumask_types.h).
        return 8, False
    known = named_type(words)
    return (max(known.bits // 8, 1), known.signed) if known else (1, False)
