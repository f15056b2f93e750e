"""PerfEvent: what a handler gets, a tuple subclass generated per event type.

A row is unpacked into a tuple once, in C, and becomes an event by tuple.__new__; reading a
field is then a C getter at a place in the tuple.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.printing import Printer

# Gets one value out of an event.
Reader = Callable[[Any], Any]


class MissingFieldError(AttributeError, KeyError):
    """An event has no such field: what event.x, event['x'] and event.get('x') raise."""

    def __str__(self) -> str:
        # KeyError would show the message as a quoted key.
        return str(self.args[0]) if self.args else ""


@dataclass(eq=False)
class EventType:
    """What the events of one schema share; reached as `__ptrace__` of their class."""

    name: str
    keys: tuple[str, ...]
    # How to get a value out of an event, for keys and further columns.
    readers: dict[str, Reader]
    # Keys in the row itself, what makes up an event's content, and how to get something
    # hashable for each.
    content: dict[str, Reader]
    # What print() takes of an event: names of readers.
    printed: tuple[str, ...]
    schema: pb.EventSchema
    # Sentences for the user about fields that cannot be reached as attributes.
    warnings: list[str] = field(default_factory=list)
    _printer: Printer | None = None

    @property
    def printer(self) -> Printer:
        """The event's print format, compiled when first used."""
        if self._printer is None:
            from ptrace_client.printing import Printer

            self._printer = Printer(self.schema)
        return self._printer


class EventMeta(type):
    """Keeps scripts from making PerfEvents or subclasses of it."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], own: bool = False
    ) -> Any:
        if not own:
            raise TypeError("type 'perf_prof.PerfEvent' is not an acceptable base type")
        return super().__new__(cls, name, bases, namespace)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], own: bool = False
    ) -> None:
        super().__init__(name, bases, namespace)

    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("cannot create 'perf_prof.PerfEvent' instances")

    def __repr__(cls) -> str:
        return "<class 'perf_prof.PerfEvent'>"


def _no_attribute(name: str) -> MissingFieldError:
    return MissingFieldError(f"'PerfEvent' object has no attribute {name!r}")


def _hidden(name: str) -> property:
    def refuse(event: PerfEvent) -> NoReturn:
        raise _no_attribute(name)

    return property(refuse)


def _unsupported(event: PerfEvent, other: object) -> Any:
    return NotImplemented


class PerfEvent(tuple[Any, ...], metaclass=EventMeta, own=True):
    """One event. Fields are attributes and items; read-only, and valid as long as it is kept."""

    __slots__ = ()
    __ptrace__: EventType
    _cpu: int

    count = _hidden("count")
    index = _hidden("index")

    def __getitem__(self, name: str) -> Any:  # type: ignore[override]
        reader = self.__ptrace__.readers.get(name) if isinstance(name, str) else None
        if reader is None:
            if not isinstance(name, str):
                raise TypeError("field name must be a string")
            raise _no_attribute(name)
        return reader(self)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the field's value, or `default` where the event has no such field."""
        if not isinstance(name, str):
            raise TypeError("field name must be a string")
        reader = self.__ptrace__.readers.get(name)
        return default if reader is None else reader(self)

    def __contains__(self, name: object) -> bool:
        return name in self.__ptrace__.keys

    def __len__(self) -> int:
        return len(self.__ptrace__.keys)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.items())

    def keys(self) -> list[str]:
        """Return the names of all fields: those of every event, then the event's own."""
        return list(self.__ptrace__.keys)

    def values(self) -> list[Any]:
        """Return the values of all fields, in the order of keys()."""
        readers = self.__ptrace__.readers
        return [readers[key](self) for key in self.__ptrace__.keys]

    def items(self) -> list[tuple[str, Any]]:
        """Return (name, value) of all fields."""
        return list(zip(self.__ptrace__.keys, self.values(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dict of all fields."""
        return dict(zip(self.__ptrace__.keys, self.values(), strict=True))

    def print(self, timestamp: bool = True, callchain: bool = True) -> None:
        """Print the event as perf-prof does; `timestamp` is the date and time in front."""
        from ptrace_client.printing import event_lines

        kind = self.__ptrace__
        values = {name: kind.readers[name](self) for name in kind.printed}
        lines = event_lines(kind.printer, values, timestamp=timestamp, callchain=callchain)
        print("\n".join(lines))

    def __str__(self) -> str:
        return str(self.to_dict())

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __repr__(self) -> str:
        readers = self.__ptrace__.readers
        shown = []
        for label, key in (("cpu", "_cpu"), ("pid", "_pid"), ("time", "_time")):
            try:
                shown.append(f"{label}={readers[key](self)}")
            except MissingFieldError:
                shown.append(f"{label}=?")
        return f"<PerfEvent {self.__ptrace__.name} {' '.join(shown)}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PerfEvent):
            return NotImplemented
        return self is other or _content(self) == _content(other)

    def __ne__(self, other: object) -> bool:
        return not self == other if isinstance(other, PerfEvent) else NotImplemented

    def __hash__(self) -> int:
        return hash(_content(self))

    def __copy__(self) -> PerfEvent:
        return self

    def __deepcopy__(self, memo: object) -> PerfEvent:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # The class exists in this process only: elsewhere an event is a plain dict.
        return dict, (self.items(),)

    __lt__ = __le__ = __gt__ = __ge__ = _unsupported
    __add__ = __mul__ = __rmul__ = _unsupported


def _content(event: PerfEvent) -> tuple[Any, ...]:
    kind = event.__ptrace__
    return (kind.name, event._cpu, *((key, read(event)) for key, read in kind.content.items()))
