"""Programs with known functions, built with and without symbols, and what nm says of them."""

from __future__ import annotations

import functools
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptrace_proto import ptrace_pb2 as pb
from ptraced.symbols.kernel import KernelSymbol

# Names that compilers of C++ and Rust make, without those compilers; c++filt's reading of
# them stands beside.
MANGLED = {
    "_ZN5space5thingIiE3hotERKSt6vectorIiSaIiEE": (
        "space::thing<int>::hot(std::vector<int, std::allocator<int> > const&)"
    ),
    "_ZN5space4plusILi7EEEdd": "double space::plus<7>(double)",
    "_ZN12_GLOBAL__N_16hiddenEv": "(anonymous namespace)::hidden()",
    "_ZN1r5inner4deep3hot17h0123456789abcdefE": "r::inner::deep::hot",
    "_ZN34_$LT$r..Sq$u20$as$u20$r..Shape$GT$4area17h0123456789abcdefE": (
        "<r::Sq as r::Shape>::area"
    ),
    "_RNvNtNtCs6GmmlP4bgsG_1r5inner4deep3hot": "r::inner::deep::hot",
    "_RINvCs6GmmlP4bgsG_1r3genThReENCNvB2_4mains1_0EB2_": (
        "r::gen::<(u8, &str), r::main::{closure#3}>"
    ),
}

# Prints where main() and getppid() are and, at the end, the time; then waits for its input.
SOURCE = """
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#define FUNCTION __attribute__((noinline, noclone))

int shared_name(int x);
static FUNCTION int local(int x) { return x * 5 + 1; }
FUNCTION int global(int x) { return local(x) * 3; }
__attribute__((weak)) FUNCTION int weakling(int x) { return global(x) - 2; }
FUNCTION int shared_name(int x) { return weakling(x) + 7; }
int other_name(int x) __attribute__((alias("shared_name")));
%(mangled)s
__asm__(".text\\n.globl sizeless\\nsizeless:\\n.rept 24\\nnop\\n.endr\\nret\\n"
        "behind:\\nret\\n.size behind, .-behind\\n.type behind, @function\\n");

int main(int argc, char **argv)
{
	struct timespec now;
	int sum = other_name(argc)%(calls)s;

	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("%%p %%p %%lld %%d\\n", (void *)main, (void *)getppid,
		now.tv_sec * 1000000000LL + now.tv_nsec, sum == 0);
	fflush(stdout);
	if (argc == 1)
		getchar();
	return 0;
}
"""


def source() -> str:
    names = {f"mangled_{number}": name for number, name in enumerate(MANGLED)}
    functions = "".join(
        f'int {c_name}(int x) __asm__("{name}");\n'
        f"FUNCTION int {c_name}(int x) {{ return x + 1; }}\n"
        for c_name, name in names.items()
    )
    calls = "".join(f" + {c_name}(argc)" for c_name in names)
    return SOURCE % {"mangled": functions, "calls": calls}


def build(directory: Path, *options: str, name: str = "program") -> Path:
    """Compile the program."""
    binary = directory / name
    command = ["gcc", "-O0", "-g0", "-x", "c", "-", "-o", binary, "-Wl,--build-id", *options]
    subprocess.run(command, input=source(), text=True, check=True)
    return binary


def stripped(binary: Path, debug: Path, *, link: bool = False) -> Path:
    """A copy of a program without symbols, which go to the file `debug`."""
    result = binary.with_name(f"{binary.name}-stripped")
    subprocess.run(["objcopy", "--only-keep-debug", binary, debug], check=True)
    options = [f"--add-gnu-debuglink={debug}"] if link else []
    subprocess.run(["objcopy", "--strip-all", *options, binary, result], check=True)
    return result


@contextmanager
def running(*command: str | Path) -> Iterator[tuple[int, int, int, int]]:
    """Run a program while the block runs: its pid, main(), getppid(), and the time it told."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        main, getppid, time, _ = run.stdout.readline().split()
        yield run.pid, int(main, 16), int(getppid, 16), int(time)
        run.communicate()


def symbols(binary: Path) -> dict[str, tuple[int, int]]:
    """Start and size of all functions that nm finds; of those without a size, 0."""
    found = {}
    said = subprocess.run(["nm", "-S", binary], check=True, capture_output=True, text=True)
    for line in said.stdout.splitlines():
        *numbers, kind, name = line.split()
        if kind in "tTwWi" and numbers:
            found[name] = int(numbers[0], 16), int(numbers[1], 16) if len(numbers) > 1 else 0
    return found


def names_by_address(binary: Path) -> dict[int, set[tuple[str, int]]]:
    """For each address within a function that has a size: its names, and the offset there."""
    found: dict[int, set[tuple[str, int]]] = defaultdict(set)
    for name, (start, size) in symbols(binary).items():
        for address in range(start, start + size):
            found[address].add((demangled(name), address - start))
    return found


@functools.cache
def demangled(name: str) -> str:
    return MANGLED.get(name, name)


class NoKernel:
    """Symbols of a kernel that has none."""

    def find(self, address: int) -> KernelSymbol | None:
        return None

    def close(self) -> None:
        pass


def frames(stack: bytes) -> list[tuple[str, int, str]]:
    """Symbol, offset and file of each frame of a serialized stack."""
    return [(frame.symbol, frame.offset, frame.dso) for frame in pb.Stack.FromString(stack).frames]
