"""Reads damaged recordings under limits of memory and time: python perf_fuzz.py FILE...

Each file is damaged in many ways, in memory; whatever comes of it but ClientError ends the
program with a traceback.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.record_parsers import record_body
from ptrace_client.perf_data.recording import open_recording

# Bytes of address space beyond what the program has at its start, and seconds of processor time.
MEMORY: Final = 400 << 20
SECONDS: Final = 60
# Numbers that lengths, offsets and counts do not expect.
NUMBERS: Final = (0, 1, 7, 8, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 60, (1 << 64) - 1)
WIDTHS: Final = (1, 2, 4, 8)


def read_all(path: str) -> int:
    """Take a recording apart down to the last member; return how many records it has."""
    count = 0
    try:
        recording = open_recording(path)
        try:
            for record in recording.records():
                count += 1
                _take_apart(recording, record)
        finally:
            recording.close()
    except ClientError:
        pass
    return count


def _take_apart(recording, record) -> None:  # type: ignore[no-untyped-def]
    try:
        if record.event is not None:
            data, start, end = record.data, record.start, record.end
            record.event.layout.raw(data, start, end)
            record.event.layout.sample(data, start, end, record.misc)
        else:
            record_body(record, recording.big_endian)
            recording.sample_id(record)
    except ClientError:
        pass


def mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies with some numbers replaced, parts doubled, cut out or cut off."""
    chance = random.Random(seed)
    for _ in range(count):
        made = bytearray(content)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            place = chance.randrange(len(made))
            kind = chance.random()
            if kind < 0.8:
                width = chance.choice(WIDTHS)
                number = chance.choice(NUMBERS) & (1 << width * 8) - 1
                made[place : place + width] = number.to_bytes(
                    width, chance.choice(("little", "big"))
                )
            elif kind < 0.9:
                del made[place : place + chance.choice((1, 8, 40))]
            else:
                made[place:place] = made[place : place + chance.choice((8, 40, 200))]
        yield bytes(made)


def limit() -> None:
    """Allow this process little memory and time."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def main(paths: list[str], count: int = 80) -> None:
    """Read mutants of each file."""
    import zstandard  # noqa: F401 - loaded in front of the limit, as a part of the program

    limit()
    with tempfile.NamedTemporaryFile() as file:
        for path in paths:
            for mutant in mutants(Path(path).read_bytes(), count, seed=7):
                Path(file.name).write_bytes(mutant)
                read_all(file.name)
    print("survived")


if __name__ == "__main__":
    main(sys.argv[1:])
