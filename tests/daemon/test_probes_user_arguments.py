"""Arguments of functions from debug information: names, types, and where they are."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from probed_files import build, fields, record

from ptraced.probes.dwarf_arguments import Convention, place_of
from ptraced.probes.dwarf_types import Passed, Scalar
from ptraced.probes.user_places import Place

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86_64")

pytestmark = pytest.mark.usefixtures("kernel_with_uprobes")

TYPES = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct box { int side; };
enum colour { RED };
enum sign { MINUS = -1 };
typedef struct box box_t;
typedef const char *name_t;

long numbers(signed char a, unsigned char b, short c, uint16_t d, int e, size_t f) { return a; }
bool others(bool a, enum colour b, enum sign c, char d, wchar_t e, long long f) { return a; }
name_t pointers(struct box *a, const box_t *b, char **c, void *d, int (*e)(void), name_t f)
{ return f; }
enum sign reserved(int ip, int _pid, int common_type, int arg1) { return MINUS; }
int reserved_too(int func, int ret, int ret_, int _own, int function) { return ret; }
void many(int a, int b, int c, int d, int e, int f, int g, char h) { }
struct box by_value(struct box a, int b) { return a; }
double real(float a, int b) { return a; }
typedef int vector __attribute__((vector_size(16)));
void behind_a_vector(int a, vector b, int c) { }
int old_style(a, b) int a; char *b; { return a; }
__asm__(".globl bare\\n.type bare,@function\\nbare: ret\\n.size bare, 1\\n");
"""
CPP = """
struct Plain { long a; };
struct Rich { Rich(const Rich &); ~Rich(); long a[4]; };
struct Empty { };
struct Shape { virtual int area(int times) const; int side; };
struct Odd { static int count(long start); int Odd::*field(int a); };
int Shape::area(int times) const { return side * times; }
int Odd::count(long start) { return start; }
int Odd::*Odd::field(int a) { return nullptr; }
void plain(Plain a, int b) { }
void rich(Rich a, int b) { }
void empty(Empty a, int b) { }
Rich made(const Rich &a, int &&b) { return a; }
enum class Colour : short { red = -1 };
namespace inside { Colour colour(Colour a) { return a; } }
auto lambda(int x) { return x; }
"""


@pytest.fixture(scope="module", params=["-gdwarf-4", "-gdwarf-5", "-gz"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("types") / "types.c"
    return build(target, TYPES, "-shared", "-fPIC", "-O1", "-g", request.param)


@pytest.fixture(scope="module")
def cpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cpp") / "types.cc"
    return build(target, CPP, "-shared", "-fPIC", "-O0", "-g")


def test_numbers(library: Path) -> None:
    assert fields("uprobe", "numbers", library) == {
        "a": "signed char",
        "b": "unsigned char",
        "c": "short int",
        "d": "uint16_t",
        "e": "int",
        "f": "size_t",
    }
    assert record("uprobe", "numbers", library) == [
        "record[0] = (u64)regs->ip;",
        "record[1] = (u64)(s64)(s8)regs->di;",
        "record[2] = (u64)(u8)regs->si;",
        "record[3] = (u64)(s64)(s16)regs->dx;",
        "record[4] = (u64)(u16)regs->cx;",
        "record[5] = (u64)(s64)(s32)regs->r8;",
        "record[6] = (u64)(u64)regs->r9;",
    ]


def test_enums_characters_and_truth(library: Path) -> None:
    assert fields("uprobe", "others", library) == {
        "a": "_Bool",
        "b": "enum colour",
        "c": "enum sign",
        "d": "char",
        "e": "wchar_t",
        "f": "long long int",
    }
    assert record("uprobe", "others", library)[1:4] == [
        "record[1] = (u64)(u8)regs->di;",
        "record[2] = (u64)(u32)regs->si;",
        "record[3] = (u64)(s64)(s32)regs->dx;",
    ]


def test_pointers(library: Path) -> None:
    assert fields("uprobe", "pointers", library) == {
        "a": "struct box *",
        "b": "const box_t *",
        "c": "char **",
        "d": "void *",
        "e": "int (*)()",
        "f": "name_t",
    }


def test_names_that_events_have_themselves(library: Path) -> None:
    found = fields("uprobe", "reserved", library)
    assert list(found) == ["ip_", "_pid_", "common_type_", "arg1"]
    found = fields("uprobe", "reserved_too", library)
    assert list(found) == ["func_", "ret_", "ret__", "_own_", "function"]
    assert list(fields("uretprobe", "reserved_too", library)) == ["ret"]


def test_arguments_on_the_stack(library: Path) -> None:
    assert record("uprobe", "many", library)[-2:] == [
        "{ s32 value = 0; bpf_probe_read_user(&value, 4, (void *)(0x8ull + (u64)regs->sp)); "
        "record[7] = (u64)(s64)value; }",
        "{ s8 value = 0; bpf_probe_read_user(&value, 1, (void *)(0x10ull + (u64)regs->sp)); "
        "record[8] = (u64)(s64)value; }",
    ]


def test_what_is_no_number_is_left_out_and_others_stay_right(library: Path) -> None:
    assert record("uprobe", "by_value", library)[1:] == ["record[1] = (u64)(s64)(s32)regs->si;"]
    assert record("uprobe", "real", library)[1:] == ["record[1] = (u64)(s64)(s32)regs->di;"]
    assert fields("uprobe", "old_style", library) == {"a": "int", "b": "char *"}


def test_behind_what_is_not_understood_nothing_is_guessed(library: Path) -> None:
    assert fields("uprobe", "behind_a_vector", library) == {"a": "int"}


@pytest.mark.parametrize(
    ("function", "ctype"),
    [
        ("numbers", "long int"),
        ("others", "_Bool"),
        ("pointers", "name_t"),
        ("reserved", "enum sign"),
        ("many", None),
        ("real", None),
        ("by_value", None),
        ("bare", "long"),
    ],
)
def test_return_values(library: Path, function: str, ctype: str | None) -> None:
    assert fields("uretprobe", function, library) == ({"ret": ctype} if ctype else {})


def test_text_by_number_where_arguments_have_names(library: Path) -> None:
    found = fields("uprobe", "pointers", library, arg6=100)
    assert found["f"] == "name_t"


def test_a_function_that_debug_information_does_not_know(library: Path) -> None:
    assert list(fields("uprobe", "bare", library)) == [f"arg{number}" for number in range(1, 7)]


@pytest.mark.parametrize(
    ("function", "found"),
    [
        ("Shape::area", {"this": "const Shape *", "times": "int"}),
        ("Odd::count", {"start": "long int"}),
        ("plain", {"b": "int"}),
        ("rich", {"b": "int"}),
        ("empty", {"b": "int"}),
        ("made", {"a": "const Rich &", "b": "int &&"}),
        ("inside::colour", {"a": "Colour"}),
        ("lambda", {"x": "int"}),
    ],
)
def test_cpp(cpp: Path, function: str, found: dict[str, str]) -> None:
    assert fields("uprobe", function, cpp) == found


def test_cpp_classes_take_registers_by_what_they_are(cpp: Path) -> None:
    # In a register; by address; not at all; and the address of what is returned comes first.
    assert record("uprobe", "plain", cpp)[1:] == ["record[1] = (u64)(s64)(s32)regs->si;"]
    assert record("uprobe", "rich", cpp)[1:] == ["record[1] = (u64)(s64)(s32)regs->si;"]
    assert record("uprobe", "empty", cpp)[1:] == ["record[1] = (u64)(s64)(s32)regs->di;"]
    assert record("uprobe", "made", cpp)[1:] == [
        "record[1] = (u64)(u64)regs->si;",
        "record[2] = (u64)(u64)regs->dx;",
    ]


INT = Scalar("int", "signed", 4)
WIDE = Passed(16, ("integer", "integer"), 16)


def test_the_convention_of_arm() -> None:
    convention = Convention("aarch64")
    convention.returns_in_memory()

    assert place_of(convention, INT) == Place("register", "x0")
    # 16 aligned bytes start in an even register, floats have registers of their own, what is
    # larger is somewhere else and its address in a register.
    assert place_of(convention, WIDE) is None
    assert place_of(convention, Passed(8, ("float",), 8, floats_only=True)) is None
    assert place_of(convention, Passed(40, None)) is None
    assert place_of(convention, INT) == Place("register", "x5")
    assert place_of(convention, Passed(12, ("integer", "integer"))) is None
    # One that no longer fits goes to the stack, and so do those after it.
    assert place_of(convention, INT) == Place("memory", "sp", 0)
    assert place_of(convention, INT) == Place("memory", "sp", 8)


def test_a_pair_that_does_not_fit_closes_the_registers_of_arm() -> None:
    convention = Convention("aarch64", integers=7)

    assert place_of(convention, Passed(16, ("integer", "integer"))) is None
    assert place_of(convention, INT) == Place("memory", "sp", 16)
