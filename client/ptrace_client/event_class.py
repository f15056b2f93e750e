"""Generation of the classes of events, one per event and CPU, from a schema."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NoReturn, cast

from ptrace_client.decode import DYNAMIC_KINDS, RowLayout, TextCache, event_name, text
from ptrace_client.event import EventMeta, EventType, MissingFieldError, PerfEvent, Reader
from ptrace_client.event_fields import (
    COMMON_KEYS,
    EXTRA_COLUMNS,
    chain_key,
    common_keys,
    derived_columns,
    has_own_cpu,
    is_sample,
    own_keys,
)
from ptrace_client.sample_values import counter_reading, registers
from ptrace_client.stacks import chain_content, frames_of
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
    keys = tuple(dict.fromkeys((*common_keys(schema), *own_keys(schema), *_own(layout))))
    on_request = frozenset(info.name for info in schema.all_fields if info.on_request)
    for name in (*keys, *sorted(on_request), *EXTRA_COLUMNS):
        if name != "_cpu":
            getters.setdefault(name, property(_not_requested(name, name in on_request)))
    readers = {name: _reader(getter) for name, getter in getters.items()}
    readers["_cpu"] = lambda event: event._cpu
    kind = EventType(
        name=event_name(schema),
        keys=keys,
        readers=readers,
        content={
            column.name: _content(column, layout, readers[column.name])
            for column in layout.fields
            if column.name in keys
        },
        printed=_printed(schema, layout, keys, readers),
        schema=schema,
    )
    kind.warnings += _collisions(schema, getters)
    namespace = {name: getter for name, getter in getters.items() if not is_taken(name)}
    return _generate(PerfEvent, {"__ptrace__": kind, **namespace})


def _own(layout: RowLayout) -> list[str]:
    return [name for name in layout.columns if name not in COMMON_KEYS + EXTRA_COLUMNS]


def _printed(
    schema: pb.EventSchema, layout: RowLayout, keys: Collection[str], readers: Collection[str]
) -> tuple[str, ...]:
    """Return what a line of print() may need."""
    if not is_sample(schema):
        return tuple(readers)
    # The kernel's samples have no name of the task: it is shown where the daemon added it.
    extra = [name for name in EXTRA_COLUMNS if name in layout.columns]
    return tuple(dict.fromkeys((*keys, chain_key(schema), *extra)))


def _collisions(schema: pb.EventSchema, getters: dict[str, Any]) -> list[str]:
    """Return a sentence for every field that is not reached by its plain name."""
    event = event_name(schema)
    hidden = [
        f"{event} has a field {info.name!r} of its own, which cannot be read: "
        f"{info.name!r} is the same for all events"
        for info in schema.all_fields
        if info.name.startswith("_") and info.name in (*common_keys(schema), *EXTRA_COLUMNS)
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
        getters[column.name] = _column(column, layout, schema)
    if not is_sample(schema):
        getters["common_type"] = schema.common_type
        getters["_period"] = 1
    elif not has_own_cpu(schema):
        getters["cpu"] = property(lambda event: event._cpu)
    getters["_event"] = event_name(schema)
    if not schema.stack:
        getters[chain_key(schema)] = property(lambda event: [])
    for name, base in derived_columns(schema).items():
        if base in getters and name != "_realtime":
            getters[name] = getters[base]
    if "_time" in getters:
        time = _reader(getters["_time"])
        getters["_realtime"] = property(lambda event: time(event) + realtime_offset)
    return getters


def _column(column: pb.Field, layout: RowLayout, schema: pb.EventSchema) -> Any:
    getter = _tuplegetter(layout.columns[column.name], "")
    if column.kind == pb.FIELD_KIND_CHAR_ARRAY:
        cache = TextCache()
        raw = getter.__get__
        return property(lambda event: cache[raw(event)])
    if column.kind == pb.FIELD_KIND_STACK:
        chain = _chain(layout)
        return property(lambda event: frames_of(chain(event)))
    if column.kind in DYNAMIC_KINDS:
        return property(_dynamic(column, layout, _converter(column, schema)))
    return getter


def _chain(layout: RowLayout) -> Reader:
    read: Reader = _tuplegetter(layout.chain_index, "").__get__
    return read


def _converter(column: pb.Field, schema: pb.EventSchema) -> Callable[[bytes], Any]:
    """Return what makes the value of a field with dynamic data out of that data."""
    match column.kind:
        case pb.FIELD_KIND_DYNAMIC_STRING:
            return text
        case pb.FIELD_KIND_READ:
            read_format = schema.sample.read_format
            return lambda data: counter_reading(data, read_format)
        case pb.FIELD_KIND_REGS:
            user = column.name == "regs_user"
            names = tuple(schema.sample.regs_user if user else schema.sample.regs_intr)
            return lambda data: registers(data, names)
    return bytes


def _dynamic(column: pb.Field, layout: RowLayout, convert: Callable[[bytes], Any]) -> Reader:
    assert layout.row_index is not None
    locator = _tuplegetter(layout.columns[column.name], "").__get__
    row = _tuplegetter(layout.row_index, "").__get__

    def read(event: PerfEvent) -> Any:
        place = locator(event)
        start, length = place & 0xFFFFFFFF, place >> 32
        return convert(row(event)[start : start + length])

    return read


def _content(column: pb.Field, layout: RowLayout, reader: Reader) -> Reader:
    """Return how to get what stands for a column's value where events are compared."""
    if column.kind == pb.FIELD_KIND_STACK:
        chain = _chain(layout)
        return lambda event: chain_content(chain(event))
    if column.kind in (pb.FIELD_KIND_READ, pb.FIELD_KIND_REGS):
        return _dynamic(column, layout, bytes)
    return reader


def _reader(getter: Any) -> Reader:
    if isinstance(getter, property):
        assert getter.fget is not None
        return getter.fget
    if hasattr(getter, "__get__"):
        read: Reader = getter.__get__
        return read
    return lambda event: getter


def _not_requested(name: str, on_request: bool) -> Reader:
    remedy = f"read event.{name} in the handler itself" if on_request else "run with --all-fields"

    def refuse(event: PerfEvent) -> NoReturn:
        raise MissingFieldError(
            f"field {name!r} of {event.__ptrace__.name} was not requested, as no handler was "
            f"seen to read it: {remedy}"
        )

    return refuse
