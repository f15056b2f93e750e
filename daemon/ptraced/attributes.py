"""Attributes of selectors: what stands between slashes behind the filter."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ptraced.diagnostics import nearest, pointed, printable
from ptraced.errors import TraceError

# PERF_MAX_STACK_DEPTH in include/uapi/linux/perf_event.h.
_STACK_MAX = 127
_NAME = re.compile(r"[A-Za-z_-]+")
_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
# An argument of a probe, and the most bytes to read of its text.
_STRING = re.compile(r"([A-Za-z_]\w*)(?::([0-9]{1,5}))?")
_STRING_BYTES = 256
_STRING_BYTES_MIN, _STRING_BYTES_MAX = 8, 4096
_CPUS = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")
# perf-prof's other profilers use these; for samples that go to a script they mean nothing.
_WITHOUT_EFFECT = (
    *("exec", "key", "printkey", "num", "ptr", "size", "comm", "top-by", "top-add"),
    *("role", "untraced", "trigger", "index", "vm"),
)
_REFUSED = ("push", "pull")


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes that act; max_stack counts frames, cpus is a list like "0-3,8".

    `strings` names arguments of a probe that are text in user memory, and the most bytes that
    are read of each.
    """

    stack: bool = False
    max_stack: int | None = None
    alias: str = ""
    cpus: str = ""
    strings: tuple[tuple[str, int], ...] = ()


class _AttributeError(Exception):
    """Why a value is refused."""


def parse_attributes(selector: str, parts: Sequence[tuple[int, int]]) -> Attributes:
    """Parse selector[start:end] of each part; raises TraceError that points at what is wrong."""
    attributes = Attributes()
    for start, end in parts:
        text = selector[start:end]
        if text.strip():
            start += len(text) - len(text.lstrip())
            attributes = _with(attributes, selector, start, start + len(text.strip()))
    return attributes


def _with(attributes: Attributes, selector: str, start: int, end: int) -> Attributes:
    name, equals, value = selector[start:end].partition("=")
    name, value = name.rstrip(), value.strip()
    if name in _WITHOUT_EFFECT:
        return attributes
    try:
        if name in _REFUSED:
            raise _AttributeError(
                f"'{name}=' passes events on without asking who reads them and is not supported: "
                "clients on other hosts connect to the daemon by gRPC"
            )
        if name not in _ACTIONS:
            raise _AttributeError(f"no attribute '{printable(name)}'{_hint(name)}")
        if value[:1] in ("'", '"') and value[-1:] == value[:1]:
            value = value[1:-1]
        return _ACTIONS[name](attributes, value if equals else None)
    except _AttributeError as error:
        raise TraceError(pointed(str(error), selector, start, end)) from None


def _hint(name: str) -> str:
    if not _NAME.fullmatch(name):
        return " (a filter that divides needs parentheses there)"
    return nearest(name, [*_ACTIONS, *_REFUSED, *_WITHOUT_EFFECT])


def _stack(attributes: Attributes, value: str | None) -> Attributes:
    if value is not None:
        raise _AttributeError("'stack' takes no value")
    return replace(attributes, stack=True)


def _max_stack(attributes: Attributes, value: str | None) -> Attributes:
    if value is None or not re.fullmatch(r"[0-9]{1,3}", value) or not 0 < int(value) <= _STACK_MAX:
        raise _AttributeError(f"'max-stack=' takes a number of frames, 1 to {_STACK_MAX}")
    return replace(attributes, stack=True, max_stack=int(value))


def _alias(attributes: Attributes, value: str | None) -> Attributes:
    if value is None or not _ALIAS.fullmatch(value):
        raise _AttributeError("'alias=' takes a name: letters, digits and any of _ - . :")
    return replace(attributes, alias=value)


def _cpus(attributes: Attributes, value: str | None) -> Attributes:
    if value is None or not _CPUS.fullmatch(value):
        raise _AttributeError("'cpus=' takes a list of CPUs such as 0-3,8")
    return replace(attributes, cpus=value)


def _str(attributes: Attributes, value: str | None) -> Attributes:
    parsed = _STRING.fullmatch(value or "")
    size = int(parsed[2] or _STRING_BYTES) if parsed else 0
    if parsed is None or not _STRING_BYTES_MIN <= size <= _STRING_BYTES_MAX:
        raise _AttributeError(
            "'str=' takes an argument, and the most bytes of its text "
            f"({_STRING_BYTES_MIN} to {_STRING_BYTES_MAX}): str=filename or str=filename:1024"
        )
    return replace(attributes, strings=(*attributes.strings, (parsed[1], size)))


_ACTIONS: dict[str, Callable[[Attributes, str | None], Attributes]] = {
    "stack": _stack,
    "max-stack": _max_stack,
    "alias": _alias,
    "cpus": _cpus,
    "str": _str,
}
