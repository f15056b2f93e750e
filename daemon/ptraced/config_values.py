"""Values of settings: each function checks a TOML value and turns it into Python's.

All of them raise ValueError with what the value must be, to go behind the name of a setting.
"""

from __future__ import annotations

import enum
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ptraced.peer import MAX_NAME, NAME

Word = TypeVar("Word", bound=enum.StrEnum)

MAX_PAGES = 1 << 20

_KIB = 1 << 10
_UNITS = {"": 1, "B": 1, "KiB": _KIB, "MiB": _KIB**2, "GiB": _KIB**3}


def number(least: int, most: int) -> Callable[[Any], int]:
    """An integer between two bounds."""

    def parse(value: Any) -> int:
        if type(value) is int and least <= value <= most:
            return value
        raise ValueError(f"must be a number from {least} to {most}")

    return parse


def size(least: int, most: int) -> Callable[[Any], int]:
    """Bytes: a number, or a text with a binary unit."""

    def parse(value: Any) -> int:
        match = re.fullmatch(r"(\d{1,18}) ?([KMG]iB|B|)", str(value))
        if match is not None and type(value) in (int, str):
            number_of_bytes = int(match[1]) * _UNITS[match[2]]
            if least <= number_of_bytes <= most:
                return number_of_bytes
        raise ValueError(
            f'must be a size from {format_size(least)} to {format_size(most)}, like "64MiB"'
        )

    return parse


def pages(value: Any) -> int:
    """Pages of a ring: a power of two."""
    if type(value) is int and 0 < value <= MAX_PAGES and value & value - 1 == 0:
        return value
    raise ValueError(f"must be a power of two, at most {MAX_PAGES} pages")


def text(value: Any) -> str:
    """Any text."""
    if isinstance(value, str):
        return value
    raise ValueError("must be a text")


def choice(*choices: str) -> Callable[[Any], str]:
    """One of a few words."""

    def parse(value: Any) -> str:
        if value in choices:
            return str(value)
        raise ValueError("must be one of " + ", ".join(f'"{choice}"' for choice in choices))

    return parse


def absolute_path(value: Any) -> Path:
    """A path from the root."""
    if isinstance(value, str) and value.startswith("/"):
        return Path(value)
    raise ValueError("must be an absolute path")


def socket_path(value: Any) -> Path:
    """A path that fits into a socket address."""
    path = absolute_path(value)
    # sun_path of unix(7), its closing NUL included.
    if len(os.fsencode(path)) < 108:
        return path
    raise ValueError("must be shorter than 108 bytes, the limit of socket paths")


def mode(value: Any) -> int:
    """File permissions as octal digits in a text: TOML would read 0660 as no number."""
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError('must be an octal mode, like "0660"')


def address(value: Any) -> str:
    """ "" for none, or "ADDRESS:PORT" of an interface of this host."""
    if value == "" or (isinstance(value, str) and _split(value) is not None):
        return str(value)
    raise ValueError('must be an IP address of this host and a port, like "0.0.0.0:7879"')


def user_map(value: Any) -> Mapping[str, str]:
    """Local users by the names in their certificates."""
    if not isinstance(value, dict):
        raise ValueError("must be a table of certificate name = local user")
    for name, user in value.items():
        if not NAME.fullmatch(name):
            raise ValueError(
                f"must have plain names of certificates, at most {MAX_NAME} characters of "
                f'letters, digits and "._@-", not "{name}"'
            )
        if not isinstance(user, str) or not user:
            raise ValueError(f'must have a user for "{name}", in quotes')
    return MappingProxyType(dict(value))


def loopback(value: Any) -> str:
    """ "" for none, or "ADDRESS:PORT" on the loopback interface."""
    if value == "" or (isinstance(value, str) and _is_loopback(value)):
        return str(value)
    raise ValueError(
        'must be a loopback address and port, like "127.0.0.1:7878": '
        "plain TCP shows all data to the network"
    )


def metrics_address(value: Any) -> str:
    """ "" for none, "unix:PATH", or "ADDRESS:PORT" with an IP address."""
    if value == "":
        return ""
    if isinstance(value, str) and value.startswith("unix:"):
        return f"unix:{socket_path(value.removeprefix('unix:'))}"
    try:
        host, _ = split_address(value if isinstance(value, str) else "")
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            'must be a socket or an address, like "unix:/run/ptraced/metrics.sock" or '
            '"127.0.0.1:9464"'
        ) from None
    return str(value)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "ADDRESS:PORT", where IPv6 addresses stand in brackets."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})", address)
    if match is None or int(match[3]) > 65535:
        raise ValueError("must be ADDRESS:PORT")
    return match[1] or match[2], int(match[3])


def is_loopback(address: str) -> bool:
    """Whether "ADDRESS:PORT" is on the loopback interface."""
    return _is_loopback(address)


def _is_loopback(address: str) -> bool:
    host = _split(address)
    try:
        return host is not None and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def _split(address: str) -> str | None:
    """The host of "HOST:PORT", an IP address or "localhost"; None where it is neither."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:]+)):(\d{1,5})", address)
    if match is None or int(match[3]) > 65535:
        return None
    host = match[1] or match[2]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if host == "localhost" else None
    return host


def format_size(number_of_bytes: int) -> str:
    """A size in the largest unit that divides it, "64MiB"."""
    for unit, factor in reversed(_UNITS.items()):
        if unit and number_of_bytes and number_of_bytes % factor == 0:
            return f"{number_of_bytes // factor}{unit}"
    return f"{number_of_bytes}B"


def flag(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def member(kind: type[Word]) -> Callable[[Any], Word]:
    """One of the words of an enumeration."""
    parse_word = choice(*kind)
    return lambda value: kind(parse_word(value))


def name(value: Any) -> str:
    """A text that is not empty and fits on a line."""
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise ValueError("must be a text that is not empty")


def users(value: Any) -> tuple[str, ...]:
    """Names of users, "#1000" for those who have none, "*" for everybody."""
    return _texts(value, r"\*|#\d{1,10}|[^#*!\s][^\s]*", 'names of users, "#1000" or "*"')


def groups(value: Any) -> tuple[str, ...]:
    """Names of groups."""
    return _texts(value, r"[^#*!\s][^\s]*", "names of groups")


def globs(value: Any) -> tuple[str, ...]:
    """Globs over names of events; those that start with "!" take out."""
    return _texts(value, r"!?[^!\s][^\s]*", 'globs of events, like "sched:*" or "!sched:*"')


def _texts(value: Any, pattern: str, what: str) -> tuple[str, ...]:
    if isinstance(value, list) and all(
        isinstance(text, str) and text.isprintable() and re.fullmatch(pattern, text)
        for text in value
    ):
        return tuple(value)
    raise ValueError(f"must be a list of {what}")
