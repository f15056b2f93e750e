"""The process that reads one ELF file, since nobody knows who wrote it.

It gets the file open and a question as JSON on standard input, and writes an answer of
elf_answer.py to standard output. Time and memory are limited, and it gives its privileges up.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from typing import Any, BinaryIO

from ptraced import sandbox
from ptraced.errors import LimitExceeded, TraceError
from ptraced.probes.dwarf_functions import DebugInformation, Values
from ptraced.probes.elf_answer import (
    ANSWER_BYTES_MAX,
    Argument,
    Found,
    FoundSite,
    Refused,
    refusal_to_json,
    to_json,
)
from ptraced.probes.elf_functions import Function, Functions
from ptraced.probes.elf_image import Image
from ptraced.probes.usdt import find_usdt
from ptraced.probes.user_places import ARGUMENTS, RETURNED, Place

CPU_SECONDS = 10
_MEMORY = 1 << 30


def answer(stream: BinaryIO, question: dict[str, Any]) -> dict[str, Any]:
    """What a question has as its answer; the refusals of Refused included."""
    shown = question["shown"]
    try:
        image = Image(stream, question["machine"], shown)
        if question["kind"] == "usdt":
            return to_json(find_usdt(image, question["target"], question["most"]))
        functions = Functions(image).find(question["target"], question["most"])
        debug = DebugInformation(image)
        returns = question["kind"] == "uretprobe"
        if returns and len(functions) > 1:
            # A glob's; where the file starts nothing returns.
            functions = [function for function in functions if function.address != image.entry]
        return to_json([_found(image, debug, function, returns) for function in functions])
    except Refused as refused:
        return refusal_to_json(refused)
    except MemoryError:
        message = f"'{shown}' takes more memory to read than is allowed"
        return refusal_to_json(Refused(TraceError, message, "path"))
    except Exception as error:
        # Whatever damaged data leads to, in whichever library; or a bug, for the daemon's log.
        place = traceback.extract_tb(error.__traceback__)[-1]
        print(f"{shown}: {error!r} in {place.filename}:{place.lineno}", file=sys.stderr)
        message = f"'{shown}' is damaged: {type(error).__name__}"
        return refusal_to_json(Refused(TraceError, message, "path"))


def encoded(answer: dict[str, Any], shown: str) -> str:
    """An answer as JSON, or the refusal of one that would be too large."""
    text = json.dumps(answer, separators=(",", ":"))
    if len(text) <= ANSWER_BYTES_MAX:
        return text
    message = f"there is too much to tell of what is meant in '{shown}'; fewer at once do"
    return json.dumps(refusal_to_json(Refused(LimitExceeded, message)))


def _found(image: Image, debug: DebugInformation, function: Function, returns: bool) -> Found:
    if returns:
        _check_returns(image, function)
        values = debug.returned(function)
        values = _returned(image) if values is None else values
    elif function.inside or image.is_go:
        values = []
    else:
        named = debug.arguments(function)
        values = _numbered(image) if named is None else named
    offset = image.file_offset(function.address)
    assert offset is not None
    site = FoundSite(function.address, offset, tuple(place for _, place in values))
    return Found(function.name, tuple(argument for argument, _ in values), (site,))


def _numbered(image: Image) -> Values:
    return [
        (
            Argument(number, f"arg{number}", "unsigned long", "unsigned", 8),
            Place("register", register),
        )
        for number, register in enumerate(ARGUMENTS[image.machine], 1)
    ]


def _returned(image: Image) -> Values:
    place = Place("register", RETURNED[image.machine], signed=True)
    return [(Argument(0, "ret", "long", "signed", 8), place)]


def _check_returns(image: Image, function: Function) -> None:
    """Refuse where the kernel would not find a return address to replace, and break something."""
    if function.inside:
        raise Refused(
            TraceError,
            f"'{function.name}' is inside of a function; what returns is probed at its start",
        )
    if function.address == image.entry:
        raise Refused(
            TraceError,
            f"'{function.name}' is where '{image.shown}' starts: it has nowhere to return to",
        )
    if image.is_go:
        raise Refused(
            TraceError,
            f"'{image.shown}' is a Go program, which probes of returns would crash: Go moves its "
            "stacks",
        )


def _limit() -> None:
    sandbox.limit({resource.RLIMIT_CPU: CPU_SECONDS, resource.RLIMIT_AS: _MEMORY})
    # No capability is needed: the file is open, and debug files are readable to all.
    sandbox.give_up_privileges()


def main() -> None:
    question = json.load(sys.stdin)
    _limit()
    with os.fdopen(question["fd"], "rb") as stream:
        sys.stdout.write(encoded(answer(stream, question), question["shown"]))


if __name__ == "__main__":
    main()
