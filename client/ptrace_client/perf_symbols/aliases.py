"""Which of the symbols that lie at one address perf keeps."""

from __future__ import annotations

from typing import Final, NamedTuple

GLOBAL: Final = 1
WEAK: Final = 2


class Alias(NamedTuple):
    """A symbol as far as it matters: its name is the one that is shown."""

    has_size: bool
    binding: int
    name: str


def goes_first(one: Alias, other: Alias) -> bool:
    """Whether perf prefers `one` over `other`, which comes later."""
    one_key, other_key = (
        (
            it.has_size,
            it.binding != WEAK,
            it.binding == GLOBAL,
            len(it.name.lstrip("_")) - len(it.name),
            len(it.name.encode(errors="surrogateescape")),
        )
        for it in (one, other)
    )
    if one_key != other_key:
        return one_key > other_key
    return not one.name.startswith(("SyS", "compat_SyS"))
