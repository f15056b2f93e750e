"""What the worker that reads an ELF file may answer: plain data, checked where it arrives.

The worker reads what strangers wrote; nothing in its answer is taken for more than numbers
in their ranges, words that we know, and short texts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ptraced.errors import LimitExceeded, NotFound, TraceError, Unavailable
from ptraced.probes.user_places import Place

# As JSON: a thousand functions with all that is to know of them have less.
ANSWER_BYTES_MAX = 4 << 20
# Characters of an argument's name or type that are of use to anybody.
_SHOWN_MAX = 200
# Demangled names are longer than linkers' names.
_TEXT_MAX = 20_000
_ARGUMENTS_MAX = 1000
_U64 = 1 << 64
KINDS = ("signed", "unsigned", "pointer", "bool")
ERRORS = {error.__name__: error for error in (TraceError, NotFound, Unavailable, LimitExceeded)}


class Refused(Exception):
    """The question has no answer: `error` is the class that the user gets.

    `part` is what of the selector is wrong: "target" or "path".
    """

    def __init__(self, error: type[TraceError], message: str, part: str = "target") -> None:
        super().__init__(message)
        self.error = error
        self.part = part


@dataclass(frozen=True, slots=True)
class Argument:
    """A value that a probe can give.

    `number` counts the function's or probe's arguments from 1 and is 0 for what is returned;
    `kind` is one of KINDS, `size` in bytes (1, 2, 4, 8).
    """

    number: int
    name: str
    ctype: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class FoundSite:
    """An instruction: its address in the ELF and where that and its semaphore are in the file.

    `places` tells of each argument of the probe where it is there.
    """

    address: int
    offset: int
    places: tuple[Place, ...]
    semaphore: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A probe: one event, at one site or, of USDT probes, several."""

    name: str
    arguments: tuple[Argument, ...]
    sites: tuple[FoundSite, ...]


def to_json(found: list[Found]) -> dict[str, Any]:
    """An answer; of names and types of arguments it has the first 200 characters."""
    probes = [asdict(probe) for probe in found]
    for probe in probes:
        for argument in probe["arguments"]:
            for part in ("name", "ctype"):
                argument[part] = _shown(argument[part])
    return {"found": probes}


def refusal_to_json(refused: Refused) -> dict[str, Any]:
    return {"error": refused.error.__name__, "message": str(refused), "part": refused.part}


def from_json(answer: Any) -> list[Found]:
    """The probes of an answer; raises Refused if it is one, and ValueError if it is malformed."""
    try:
        if "error" in answer:
            message, part = _text(answer["message"]), answer["part"]
            raise Refused(ERRORS[answer["error"]], message, "path" if part == "path" else "target")
        return [_found(probe) for probe in answer["found"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an answer of ours: {error!r}") from None


def _found(probe: Any) -> Found:
    arguments = tuple(_argument(argument) for argument in probe["arguments"])
    sites = tuple(_site(site) for site in probe["sites"])
    if not sites or any(len(site.places) != len(arguments) for site in sites):
        raise ValueError("places and arguments differ")
    return Found(_text(probe["name"]), arguments, sites)


def _argument(argument: Any) -> Argument:
    size = argument["size"]
    if argument["kind"] not in KINDS or type(size) is not int or size not in (1, 2, 4, 8):
        raise ValueError("an argument of an unknown kind or size")
    number = argument["number"]
    if type(number) is not int or not 0 <= number < _ARGUMENTS_MAX:
        raise ValueError("an argument of an impossible number")
    return Argument(
        number,
        _text(argument["name"]),
        _text(argument["ctype"]),
        argument["kind"],
        size,
    )


def _site(site: Any) -> FoundSite:
    numbers = [site["address"], site["offset"], site["semaphore"]]
    if not all(type(number) is int and 0 <= number < _U64 for number in numbers):
        raise ValueError("a number out of range")
    places = tuple(Place.from_json(place) for place in site["places"])
    return FoundSite(numbers[0], numbers[1], places, numbers[2])


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:_SHOWN_MAX])


def _text(text: Any) -> str:
    if type(text) is not str or len(text) > _TEXT_MAX or not text.isprintable():
        raise ValueError("a text that is none, too long, or not to be printed")
    return text
