"""Functions of files: how they may be called, what is refused and what is said then."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
from pathlib import Path

import pytest
from probed_files import build, fields, find

from ptrace_formats.event_format import EventFormat
from ptraced.errors import LimitExceeded, NotFound, TraceError
from ptraced.origin import Probe, ProbedFile, Site
from ptraced.probes import elf_ask
from ptraced.probes.user import explain_user_refusal

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="code of x86_64")

pytestmark = pytest.mark.usefixtures("kernel_with_uprobes")

SOURCE = """
#include <stdio.h>

int answer = 42;
const char version[] = "1.0";

__attribute__((visibility("hidden"), noinline)) int inner(int a) { return a * 3 + answer; }
int outer(int a) { return inner(a) + 1; }
int outer_too(int a) { return puts(version) + inner(a); }
void outermost(void) { answer++; }
extern int alias(int) __attribute__((alias("outer_too")));

static int fast(int a) { return a; }
static int slow(int a) { return a + 1; }
static int (*choose(void))(int) { return answer ? fast : slow; }
int chosen(int a) __attribute__((ifunc("choose")));

__asm__(".text\\n.globl place\\nplace: .long 0x90909090\\n");
"""
CPP = """
namespace shapes {
struct Square {
    explicit Square(int side);
    ~Square();
    int scaled(int by) const;
    int scaled(long by) const;
    bool operator<(const Square &other) const;
    int operator()(int x);
    int side;
};
Square::Square(int side) : side(side) {}
Square::~Square() { side = 0; }
int Square::scaled(int by) const { return side * by; }
int Square::scaled(long by) const { return side * by; }
bool Square::operator<(const Square &other) const { return side < other.side; }
int Square::operator()(int x) { return side + x; }
template <typename T> T twice(T value) { return value + value; }
template int twice<int>(int);
namespace { int hidden(int x) { return x; } }
int (*shown)(int) = hidden;
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library") / "library.c", SOURCE)


@pytest.fixture(scope="module")
def stripped(library: Path) -> Path:
    """The library with nothing but what it exports."""
    target = library.with_name("stripped")
    subprocess.run(["strip", "-o", target, library], check=True)
    return target


@pytest.fixture(scope="module")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("cpp") / "shapes.cc", CPP)


def symbols(path: Path) -> dict[str, int]:
    """Addresses by name, as binutils have them."""
    lines = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    split = [line.split() for line in lines.splitlines()]
    return {words[2]: int(words[0], 16) for words in split if len(words) == 3}


def refusal(
    kind: str, target: str, path: Path, error: type[TraceError] = TraceError, **strings: int
) -> str:
    """What is said of a target, which is pointed at."""
    with pytest.raises(error) as caught:
        find(kind, target, path, strings)
    message, line, caret = str(caught.value).split("\n")
    assert type(caught.value) is error
    assert line.startswith(f'  {kind}:{target}@"{path}"')
    pointed = [f"str={name}" for name in strings] or [target]
    at = line.index(pointed[0])
    assert caret == " " * at + "^".ljust(len(pointed[0]), "~")
    return message


def sites(kind: str, target: str, path: Path) -> list[int]:
    return [site.offset for _, probe in find(kind, target, path) for site in probe.sites]


def test_a_function_by_its_name(library: Path) -> None:
    ((event, probe),) = find("uprobe", "inner", library)

    assert (event.system, event.name, event.id, event.common) == ("uprobe", "inner", 0, ())
    assert [field.offset for field in event.fields] == list(range(0, 8 * len(event.fields), 8))
    # The first segments of a library are mapped as they lie in the file.
    assert [site.offset for site in probe.sites] == [symbols(library)["inner"]]
    assert (probe.returns, probe.file and probe.file.path) == (False, str(library))


def test_a_return(library: Path) -> None:
    ((event, probe),) = find("uretprobe", "inner", library)

    assert event.system == "uretprobe"
    assert probe.returns
    assert {field.name: field.ctype for field in event.fields} == {"ip": "void *", "ret": "long"}


def test_a_file_offset_is_no_address(tmp_path: Path) -> None:
    # GIVEN a program at a fixed address, far from where its code lies in the file
    source = "int inner(int a) { return a; } int main(void) { return inner(1); }"
    program = build(tmp_path / "program.c", source, "-no-pie", "-O0")
    address = symbols(program)["inner"]

    assert address > 0x400000
    assert sites("uprobe", "inner", program) == [address - 0x400000]
    assert sites("uprobe", f"{address:#x}", program) == [address - 0x400000]


def test_the_same_question_is_answered_from_memory(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find("uprobe", "outer", library)
    monkeypatch.setattr(elf_ask, "_run", None)

    assert find("uprobe", "outer", library)[0][1].sites == first[0][1].sites


def test_an_unknown_function(library: Path) -> None:
    assert refusal("uprobe", "outr", library, NotFound) == (
        f"error: no function 'outr' in '{library}' (did you mean 'outer'?)"
    )
    assert refusal("uprobe", "xyzzy", library, NotFound) == (
        f"error: no function 'xyzzy' in '{library}'"
    )


def test_a_function_that_is_only_called(library: Path) -> None:
    assert refusal("uretprobe", "puts", library, NotFound) == (
        f"error: 'puts' is not in '{library}', only called by it; it may be in libc.so.6"
    )


def test_data_is_no_function(library: Path) -> None:
    assert refusal("uprobe", "answer", library) == (
        f"error: 'answer' of '{library}' is data, not a function"
    )


def test_a_label_may_be_data_among_code(library: Path) -> None:
    assert refusal("uprobe", "place", library) == (
        f"error: 'place' of '{library}' is not known to be a function"
    )


def test_a_function_that_is_chosen_when_a_program_starts(tmp_path: Path) -> None:
    source = """
    int __chosen_fast(int a) { return a; }
    int __chosen_slow(int a) { return a + 1; }
    static int (*choose(void))(int) { return __chosen_fast; }
    int chosen(int a) __attribute__((ifunc("choose")));
    """
    library = build(tmp_path / "choosing.c", source)

    assert refusal("uprobe", "chosen", library) == (
        f"error: 'chosen' of '{library}' stands for several functions, one of which is chosen when "
        "a program starts (IFUNC): __chosen_fast, __chosen_slow"
    )


def test_the_same_without_its_debug_symbols(stripped: Path) -> None:
    assert refusal("uprobe", "chosen", stripped) == (
        f"error: 'chosen' of '{stripped}' stands for several functions, one of which is chosen "
        "when a program starts (IFUNC): its debug symbols, when installed, name them"
    )


def test_a_function_that_the_linker_has_forgotten(stripped: Path) -> None:
    assert refusal("uprobe", "oter", stripped, NotFound) == (
        f"error: no function 'oter' in '{stripped}' (did you mean 'outer'?)"
    )
    assert refusal("uprobe", "inner", stripped, NotFound) == (
        f"error: no function 'inner' in '{stripped}': it is stripped, only what it exports "
        "has names; an address would do"
    )


def test_a_program_without_any_name(tmp_path: Path) -> None:
    program = build(tmp_path / "program.c", "int main(void) { return 0; }", "-s")

    assert refusal("uprobe", "main", program, NotFound) == (
        f"error: no function 'main' in '{program}': it is stripped of its symbols; an address, "
        "or its debug symbols, would do"
    )


def test_debug_symbols_are_found_by_build_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a stripped program whose symbols lie where distributions install them. The worker
    # does not see what is patched here, so this is its code in this process.
    from ptraced.probes import elf_image
    from ptraced.probes.elf_worker import answer

    source = "int inner(int seconds) { return seconds; } int main(void) { return inner(1); }"
    program = build(tmp_path / "program.c", source, "-g", "-O0", "-Wl,--build-id=0xabcdef0123")
    debug = tmp_path / "ab/cdef0123.debug"
    debug.parent.mkdir()
    subprocess.run(["objcopy", "--only-keep-debug", program, debug], check=True)
    subprocess.run(["strip", program], check=True)
    monkeypatch.setattr(elf_image, "_DEBUG_FILES", str(tmp_path))

    question = {"kind": "uprobe", "target": "inner", "most": 1, "shown": "x"}
    with program.open("rb") as stream:
        said = answer(stream, {**question, "machine": platform.machine()})

    (found,) = said["found"]
    assert [argument["name"] for argument in found["arguments"]] == ["seconds"]


def test_static_functions_of_one_name(tmp_path: Path) -> None:
    other = tmp_path / "other.c"
    other.write_text("static int step(int a) { return a - 1; } int (*back)(int) = step;")
    source = "static int step(int a) { return a + 1; } int (*forth)(int) = step;"
    library = build(tmp_path / "both.c", source, "-shared", "-fPIC", str(other))
    lines = subprocess.run(["nm", library], capture_output=True, text=True, check=True).stdout
    places = [int(line.split()[0], 16) for line in lines.splitlines() if line.endswith(" step")]

    said = refusal("uprobe", "step", library)

    assert said.startswith(
        f"error: 'step' is 2 functions of '{library}', an address or full name selects one: step "
    )
    assert {word.rstrip(",") for word in said.split()[-5:]} >= {f"{place:#x}" for place in places}
    assert sites("uprobe", f"{places[0]:#x}", library) == [places[0]]


def test_addresses(library: Path) -> None:
    where = symbols(library)
    assert sites("uprobe", f"{where['outer']:#X}", library) == [where["outer"]]
    assert refusal("uprobe", f"{where['answer']:#x}", library) == (
        f"error: {where['answer']:#x} is not in the code of '{library}'; addresses are those of "
        "the file, which nm and objdump show"
    )
    assert refusal("uprobe", f"{where['place'] + 1:#x}", library) == (
        f"error: nothing tells which function {where['place'] + 1:#x} of '{library}' is in, and so "
        "whether an instruction starts there"
    )


def test_functions_without_names_are_known_by_unwind_information(
    library: Path, stripped: Path
) -> None:
    inner = symbols(library)["inner"]

    assert sites("uretprobe", f"{inner:#x}", stripped) == [inner]


@x86_64
def test_an_instruction_is_not_cut(library: Path, stripped: Path) -> None:
    # lea (%rdi,%rdi,2),%eax has three bytes; it is what follows is of no interest.
    start = symbols(library)["inner"]
    code = library.read_bytes()[start : start + 3]
    assert code == bytes.fromhex("8d047f")

    assert sites("uprobe", "inner+3", library) == [start + 3]
    assert sites("uprobe", "inner+0x3", library) == [start + 3]
    assert sites("uprobe", "inner+003", library) == [start + 3]
    assert refusal("uprobe", "inner+1", library) == (
        "error: 'inner+1' is inside of an instruction; the nearest ones start at +0x0 and +0x3 of "
        "the function"
    )
    assert refusal("uprobe", f"{start + 2:#x}", stripped) == (
        f"error: '{start + 2:#x}' is inside of an instruction; the nearest ones start at +0x0 and "
        "+0x3 of the function"
    )


@x86_64
def test_code_that_cannot_be_decoded(tmp_path: Path) -> None:
    # GIVEN a function that starts with what is no instruction (06, push %es of 32 bits)
    source = (
        '__asm__(".globl odd\\n.type odd,@function\\nodd: .byte 6\\nnop\\nret\\n.size odd, 3\\n");'
    )
    library = build(tmp_path / "odd.c", source)

    assert refusal("uprobe", "odd+1", library) == (
        "error: whether an instruction starts at 'odd+1' is unknown"
    )


def test_an_offset_behind_the_end(library: Path) -> None:
    assert refusal("uprobe", "inner+1000", library).endswith(" there is no +0x3e8 in it")
    assert refusal("uprobe", "inner+01000", library).endswith(" there is no +0x3e8 in it")
    assert refusal("uprobe", "xyzzy+0x10", library, NotFound) == (
        f"error: no function 'xyzzy' in '{library}'"
    )


def test_inside_of_a_function_there_are_no_arguments(library: Path) -> None:
    assert fields("uprobe", "inner+3", library) == {}


@x86_64
def test_what_returns_is_probed_at_its_start(library: Path) -> None:
    assert refusal("uretprobe", "inner+3", library) == (
        "error: 'inner+3' is inside of a function; what returns is probed at its start"
    )
    assert sites("uretprobe", "inner+0", library) == [symbols(library)["inner"]]


def test_where_a_program_starts_there_is_no_return_address(tmp_path: Path) -> None:
    program = build(tmp_path / "program.c", "int main(void) { return 0; }", "-O0")

    assert refusal("uretprobe", "_start", program) == (
        f"error: '_start' is where '{program}' starts: it has nowhere to return to"
    )
    assert len(sites("uprobe", "_start", program)) == 1


def test_wildcards_over_returns_leave_out_where_a_program_starts(tmp_path: Path) -> None:
    source = "void _starting(void) { }\nint main(void) { return 0; }"
    program = build(tmp_path / "program.c", source, "-O0")

    assert "_start" in [event.name for event, _ in find("uprobe", "_start*", program)]
    assert [event.name for event, _ in find("uretprobe", "_start*", program)] == ["_starting"]
    assert refusal("uretprobe", "_star[t]", program) == (
        f"error: '_start' is where '{program}' starts: it has nowhere to return to"
    )


def test_go_moves_its_stacks(library: Path) -> None:
    program = library.with_name("go")
    section = f".note.go.buildid={library}"
    subprocess.run(["objcopy", "--add-section", section, library, program], check=True)

    assert fields("uprobe", "inner", program) == {}
    assert refusal("uretprobe", "inner", program) == (
        f"error: '{program}' is a Go program, which probes of returns would crash: Go moves its "
        "stacks"
    )


def test_wildcards_are_an_event_per_function(library: Path) -> None:
    found = find("uprobe", "out*", library)

    # alias and outer_too are one function.
    assert [event.name for event, _ in found] == ["outer", "outer_too", "outermost"]
    assert [event.name for event, _ in find("uprobe", "[a-b]*", library)] == ["alias"]
    assert refusal("uprobe", "x*", library, NotFound) == (
        f"error: no functions of '{library}' match 'x*'"
    )


def test_wildcards_have_a_limit(library: Path) -> None:
    with pytest.raises(LimitExceeded) as caught:
        find("uprobe", "out*", library, most=2)
    assert str(caught.value).splitlines()[0] == (
        f"error: 'out*' matches 3 functions of '{library}', at most 2 may be selected"
    )


@pytest.mark.parametrize(
    ("target", "symbol"),
    [
        ("shapes::Square::scaled(int) const", "_ZNK6shapes6Square6scaledEi"),
        ("shapes::Square::scaled(long)const", "_ZNK6shapes6Square6scaledEl"),
        ("_ZNK6shapes6Square6scaledEl", "_ZNK6shapes6Square6scaledEl"),
        ("shapes::Square::Square", "_ZN6shapes6SquareC2Ei"),
        ("shapes::Square::~Square()", "_ZN6shapes6SquareD2Ev"),
        ("shapes::Square::operator<", "_ZNK6shapes6SquareltERKS0_"),
        ("shapes::Square::operator()", "_ZN6shapes6SquareclEi"),
        ("shapes::twice", "_ZN6shapes5twiceIiEET_S1_"),
        ("shapes::twice<int>", "_ZN6shapes5twiceIiEET_S1_"),
        ("int shapes::twice<int>(int)", "_ZN6shapes5twiceIiEET_S1_"),
        ("shapes::(anonymous namespace)::hidden", "_ZN6shapes12_GLOBAL__N_16hiddenEi"),
    ],
)
def test_cpp_names(cpp: Path, target: str, symbol: str) -> None:
    ((event, probe),) = find("uprobe", target, cpp)

    assert event.name == target
    assert [site.offset for site in probe.sites] == [symbols(cpp)[symbol]]


def test_cpp_names_that_mean_several_or_none(cpp: Path) -> None:
    said = refusal("uprobe", "shapes::Square::scaled", cpp)
    where = symbols(cpp)

    assert said.startswith(
        f"error: 'shapes::Square::scaled' is 2 functions of '{cpp}', an address or full name "
        "selects one: "
    )
    for arguments, symbol in (("int", "Ei"), ("long", "El")):
        place = where[f"_ZNK6shapes6Square6scaled{symbol}"]
        assert f"shapes::Square::scaled({arguments}) const at {place:#x}" in said
    assert refusal("uprobe", "shape::Square::scaled", cpp, NotFound) == (
        f"error: no function 'shape::Square::scaled' in '{cpp}' "
        "(did you mean 'shapes::Square::scaled'?)"
    )


def test_cpp_wildcards(cpp: Path) -> None:
    names = [event.name for event, _ in find("uprobe", "shapes::*", cpp)]

    assert [name for name in names if "Square" not in name] == [
        "shapes::(anonymous namespace)::hidden",
        "shapes::twice<int>",
    ]
    # Overloads have one name in C++, so they keep the linker's.
    assert {"_ZNK6shapes6Square6scaledEi", "_ZNK6shapes6Square6scaledEl"} <= set(names)


def test_texts_are_pointers(library: Path) -> None:
    ((event, _),) = find("uprobe", "outer", library, {"arg2": 64})
    text = event.field("arg2")
    assert text is not None
    assert (text.size, text.pointed, text.offset) == (8, 64, 16)

    assert refusal("uprobe", "outer", library, arg9=64) == (
        "error: no argument 'arg9' of outer (did you mean 'arg6'?)"
    )
    assert refusal("uprobe", "out*", library, name=64) == (
        "error: no argument 'name' of what matches"
    )


def refused(number: int) -> str:
    file = ProbedFile(os.open("/bin/true", os.O_RDONLY), "/bin/true")
    event = EventFormat("uprobe", "main", 0, (), (), "")
    probe = Probe(False, (Site(0x1000, ""),), file)
    return explain_user_refusal(event, probe, OSError(number, os.strerror(number)))


def test_what_the_kernel_refuses_is_explained() -> None:
    start = "error: the kernel refuses uprobe:main of /bin/true: "
    assert refused(errno.EIO) == (
        f"{start}the file lies on a file system whose files cannot be probed (EIO)"
    )
    assert refused(524) == f"{start}the instruction there cannot be probed (524)"
    assert refused(errno.ENOSPC) == f"{start}No space left on device (ENOSPC)"
