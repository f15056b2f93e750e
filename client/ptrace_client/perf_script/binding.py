"""Which arguments a handler takes of an event.

perf passes the common arguments and all fields, and the sample dictionary behind them where the
handler's code takes one argument more. Fields come and go from kernel to kernel, so that is not
all that is accepted here: a handler with which perf would abort is bound as it must have been
meant, and its user is warned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, MethodType
from typing import Any, Final

COMMON: Final = (
    "event_name",
    "context",
    "common_cpu",
    "common_secs",
    "common_nsecs",
    "common_pid",
    "common_comm",
    "common_callchain",
)
SAMPLE_DICT: Final = "perf_sample_dict"
# Common arguments in the man page's form, which has no callchain.
_OLD_COMMON: Final = len(COMMON) - 1
# Fields that kernels once had: what they would say today.
_GONE: Final[dict[str, dict[str, object]]] = {
    "sched__sched_wakeup": {"success": 1},
    "sched__sched_wakeup_new": {"success": 1},
}
_VARARGS: Final = 0x04


@dataclass(frozen=True)
class Constant:
    """An argument that is the same at every call."""

    value: object


@dataclass(frozen=True)
class Binding:
    """The arguments of a handler, by position.

    Each is one of COMMON, SAMPLE_DICT, the position of a field of the event, or a Constant.
    """

    arguments: tuple[str | int | Constant, ...]
    warning: str | None = None

    def call(
        self,
        common: Mapping[str, str],
        fields: Sequence[str],
        scope: dict[str, object],
        unread: Collection[int] = (),
    ) -> str:
        """Return the call of `handler` as source code.

        `common` has expressions for COMMON and SAMPLE_DICT, `fields` for the event's fields;
        constants are put into `scope`. Arguments at the positions `unread` are None.
        """
        values = []
        for position, argument in enumerate(self.arguments):
            if position in unread:
                values.append("None")
            elif isinstance(argument, Constant):
                values.append(f"constant{len(scope)}")
                scope[values[-1]] = argument.value
            else:
                values.append(fields[argument] if isinstance(argument, int) else common[argument])
        return f"handler({', '.join(values)})"

    @property
    def takes_dict(self) -> bool:
        """Whether the sample dictionary is among them."""
        return SAMPLE_DICT in self.arguments


@dataclass(frozen=True)
class _Signature:
    """Parameters that can be given by position: names, values of the last ones, and whether
    further arguments are taken."""

    names: tuple[str, ...]
    defaults: tuple[object, ...]
    varargs: bool

    def default(self, place: int) -> Constant | None:
        """Return the default of a parameter."""
        place -= len(self.names) - len(self.defaults)
        return Constant(self.defaults[place]) if place >= 0 else None

    def takes(self, count: int) -> bool:
        """Whether a call with so many arguments goes through."""
        fewest = len(self.names) - len(self.defaults)
        return fewest <= count and (self.varargs or count <= len(self.names))


def bind(
    handler: Callable[..., Any], event: str, fields: Sequence[str], *, strict: bool = False
) -> Binding:
    """Return the arguments that `handler` takes of the event `event` ("system__name").

    `strict` gives what perf gives, whether the handler takes it or not.
    """
    wanted = _by_count(_code_arguments(handler), len(fields))
    if strict:
        return wanted
    signature = _signature(handler)
    if signature is None or _fits(wanted, signature, fields):
        return wanted
    found = _man_page(signature, fields) or _by_name(signature, event, fields)
    if found is None and signature.takes(len(wanted.arguments)):
        return wanted
    if found is None:
        plain = _by_count(len(signature.names), len(fields))
        found = plain.arguments if signature.takes(len(plain.arguments)) else None
    if found is None:
        return wanted
    return Binding(found, _warning(event, signature, fields, found))


def sample_dict_wanted(handler: Callable[..., Any], arguments: int) -> bool:
    """Whether perf's rule gives a handler the sample dictionary behind so many arguments."""
    return _code_arguments(handler) == arguments + 1


def _by_count(parameters: int, fields: int) -> Binding:
    arguments = (*COMMON, *range(fields))
    if parameters == len(arguments) + 1:
        return Binding((*arguments, SAMPLE_DICT))
    return Binding(arguments)


def _fits(binding: Binding, signature: _Signature, fields: Sequence[str]) -> bool:
    """Whether a handler takes what perf gives, and a dictionary only where it expects one."""
    if not signature.takes(len(binding.arguments)):
        return False
    return not (binding.takes_dict and signature.names[-1:] and signature.names[-1] in fields)


def _man_page(
    signature: _Signature, fields: Sequence[str]
) -> tuple[str | int | Constant, ...] | None:
    """Return the arguments of a handler without a callchain, as perf's man page has them."""
    own = signature.names[_OLD_COMMON:]
    if len(own) != len(fields) or signature.defaults:
        return None
    if own and own[0] not in fields and all(name in fields for name in own[1:]):
        # Its callchain is there, and a field is missing.
        return None
    return (*COMMON[:_OLD_COMMON], *range(len(fields)))


def _by_name(
    signature: _Signature, event: str, fields: Sequence[str]
) -> tuple[str | int | Constant, ...] | None:
    """Return arguments where every parameter behind the common ones has the name of a field."""
    names = signature.names
    if len(names) < _OLD_COMMON:
        return None
    place = {name: number for number, name in enumerate(fields)}
    has_chain = len(names) > _OLD_COMMON and names[_OLD_COMMON] not in place
    common = len(COMMON) if has_chain and names[_OLD_COMMON] != SAMPLE_DICT else _OLD_COMMON
    arguments: list[str | int | Constant] = [*COMMON[:common]]
    gone = _GONE.get(event, {})
    for position, name in enumerate(names[common:], start=common):
        default = signature.default(position)
        if name in place:
            arguments.append(place[name])
        elif name == SAMPLE_DICT:
            arguments.append(SAMPLE_DICT)
        elif default is not None:
            arguments.append(default)
        elif name in gone:
            arguments.append(Constant(gone[name]))
        else:
            return None
    return tuple(arguments)


def _warning(
    event: str,
    signature: _Signature,
    fields: Sequence[str],
    arguments: tuple[str | int | Constant, ...],
) -> str:
    if COMMON[-1] not in arguments:
        how = "has no common_callchain, and gets none"
    else:
        missing = [name for number, name in enumerate(fields) if number not in arguments]
        gone = [
            name
            for name, argument in zip(signature.names, arguments, strict=False)
            if isinstance(argument, Constant)
        ]
        parts = []
        if missing:
            parts.append(f"does not take {_names(missing)}")
        if gone:
            parts.append(f"takes {_names(gone)}, which the event does not have")
        how = " and ".join(parts) or "is bound by the names of its parameters"
    return f"{event} {how}: perf would abort (--strict does)"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _code_arguments(handler: Callable[..., Any]) -> int:
    """Return co_argcount as perf finds it: `self` of a method counts, no code is 0."""
    code = getattr(handler, "__code__", None)
    count = getattr(code, "co_argcount", 0)
    return count if isinstance(count, int) else 0


def _signature(handler: Callable[..., Any]) -> _Signature | None:
    """Return the positional parameters of a function or method; None of other callables."""
    function = handler.__func__ if isinstance(handler, MethodType) else handler
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    names = code.co_varnames[: code.co_argcount]
    if isinstance(handler, MethodType):
        names = names[1:]
    defaults = tuple(getattr(function, "__defaults__", None) or ())
    return _Signature(names, defaults, bool(code.co_flags & _VARARGS))
