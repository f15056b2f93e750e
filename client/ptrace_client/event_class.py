"""Generation of the classes of events, one per event and CPU, from a schema."""

from __future__ import annotations

from typing import Any, Final, NoReturn, cast

from ptrace_client.decode import DYNAMIC_KINDS, RowLayout, TextCache, event_name, text
from ptrace_client.event import (
    COMMON_KEYS,
    EXTRA_COLUMNS,
    EventMeta,
    EventType,
    MissingFieldError,
    PerfEvent,
    Reader,
)
from ptrace_proto import ptrace_pb2 as pb

try:
    # namedtuple's own field getter: 13 ns per access, a property over itemgetter takes 60.
    from _collections import _tuplegetter  # type: ignore[import-not-found]
except ImportError:

    def _tuplegetter(index: int, doc: str) -> property:
        return property(lambda self: tuple.__getitem__(self, index), doc=doc)


# tuple's two methods are no part of PerfEvent: fields of these names come first.
_TUPLE_METHODS: Final = frozenset(("count", "index"))


def event_class(schema: pb.EventSchema, layout: RowLayout, realtime_offset: int) -> type[PerfEvent]:
    """Return the class of a schema's events; cpu_class() makes those of one CPU from it.

    `realtime_offset` is CLOCK_REALTIME minus CLOCK_MONOTONIC, ns. Columns that `layout` leaves
    out raise MissingFieldError, which says how to get them.
    """
    getters = _getters(schema, layout, realtime_offset)
    own_keys = [info.name for info in schema.all_fields if info.name not in getters]
    known = [name for name in (*COMMON_KEYS, *own_keys) if name != "_cpu"]
    for name in (*known, *EXTRA_COLUMNS):
        getters.setdefault(name, property(_not_requested(name)))
    columns = [name for name in layout.columns if name not in COMMON_KEYS + EXTRA_COLUMNS]
    own = [info.name for info in schema.all_fields if info.name not in COMMON_KEYS]
    keys = tuple(dict.fromkeys((*COMMON_KEYS, *own, *columns)))
    kind = EventType(
        name=event_name(schema),
        keys=keys,
        readers={name: _reader(getter) for name, getter in getters.items()},
        content=tuple(name for name in keys if name in layout.columns),
        schema=schema,
    )
    kind.readers["_cpu"] = lambda event: event._cpu
    kind.warnings += _collisions(schema, getters)
    namespace = {name: getter for name, getter in getters.items() if not is_taken(name)}
    return _generate(PerfEvent, {"__ptrace__": kind, **namespace})


def _collisions(schema: pb.EventSchema, getters: dict[str, Any]) -> list[str]:
    """Return a sentence for every field that is not reached by its plain name."""
    event = event_name(schema)
    hidden = [
        f"{event} has a field {info.name!r} of its own, which cannot be read: "
        f"{info.name!r} is the same for all events"
        for info in schema.all_fields
        if info.name.startswith("_") and info.name in COMMON_KEYS + EXTRA_COLUMNS
    ]
    return hidden + [
        f"{event} has a field {name!r}, which as an attribute is something else: "
        f"read it as event[{name!r}]"
        for name in getters
        if is_taken(name)
    ]


def is_taken(name: str) -> bool:
    """Return whether an attribute of this name must stay what it is."""
    if name in _TUPLE_METHODS:
        return False
    # Python gives meaning to names like __getattr__ even where no base class has them.
    special = name.startswith("__") and name.endswith("__")
    return special or any(name in vars(base) for base in PerfEvent.__mro__)


def cpu_class(kind: type[PerfEvent], cpu: int) -> type[PerfEvent]:
    """Return the class of the events of `kind` that happened on `cpu`."""
    return _generate(kind, {"_cpu": cpu})


def _generate(base: type[PerfEvent], namespace: dict[str, Any]) -> type[PerfEvent]:
    # Python names the class in its own messages: "'PerfEvent' object has no attribute 'x'".
    namespace.update(__slots__=(), __doc__=PerfEvent.__doc__)
    return cast(type[PerfEvent], EventMeta("PerfEvent", (base,), namespace, own=True))


def _getters(schema: pb.EventSchema, layout: RowLayout, realtime_offset: int) -> dict[str, Any]:
    """Return the class attributes that read the columns of `layout` and what derives from them."""
    getters: dict[str, Any] = {}
    for column in layout.fields:
        getters[column.name] = _column(column, layout)
    getters["common_type"] = schema.common_type
    getters["_event"] = event_name(schema)
    getters["_period"] = 1
    getters["_callchain"] = property(lambda event: [])
    if "_tid" in getters:
        getters["common_pid"] = getters["_tid"]
    if "_time" in getters:
        time = _reader(getters["_time"])
        getters["_realtime"] = property(lambda event: time(event) + realtime_offset)
    return getters


def _column(column: pb.Field, layout: RowLayout) -> Any:
    getter = _tuplegetter(layout.columns[column.name], "")
    if column.kind == pb.FIELD_KIND_CHAR_ARRAY:
        cache = TextCache()
        raw = getter.__get__
        return property(lambda event: cache[raw(event)])
    if column.kind in DYNAMIC_KINDS and layout.row_index is not None:
        return property(_dynamic(getter.__get__, layout.row_index, column.kind))
    return getter


def _dynamic(locator: Reader, row_index: int, kind: pb.FieldKind) -> Reader:
    row = _tuplegetter(row_index, "").__get__

    def read(event: PerfEvent) -> str | bytes:
        place = locator(event)
        start, length = place & 0xFFFFFFFF, place >> 32
        data: bytes = row(event)[start : start + length]
        return text(data) if kind == pb.FIELD_KIND_DYNAMIC_STRING else data

    return read


def _reader(getter: Any) -> Reader:
    if isinstance(getter, property):
        assert getter.fget is not None
        return getter.fget
    if hasattr(getter, "__get__"):
        read: Reader = getter.__get__
        return read
    return lambda event: getter


def _not_requested(name: str) -> Reader:
    def refuse(event: PerfEvent) -> NoReturn:
        raise MissingFieldError(
            f"field {name!r} of {event.__ptrace__.name} was not requested, as no handler was "
            "seen to read it: run with --all-fields"
        )

    return refuse
