"""Which register each argument is in, and what fields are called."""

from __future__ import annotations

import pytest

from ptrace_proto import ptrace_pb2 as pb
from ptraced.btf_functions import Prototype
from ptraced.btf_values import Value
from ptraced.probes.kernel_fields import entry_words, return_words
from ptraced.probes.registers import of_machine

POINTER = Value("p", "void *", pb.FIELD_KIND_POINTER, 8, False)
BOOL = Value("b", "bool", pb.FIELD_KIND_BOOL, 1, False)
FLOAT = Value("f", "double", pb.FIELD_KIND_UNSPECIFIED, 8, False)
KUID = Value("kuid", "kuid_t", pb.FIELD_KIND_BYTES, 4, False)
SOCKPTR = Value("sockptr", "sockptr_t", pb.FIELD_KIND_BYTES, 16, False)
LARGE = Value("large", "struct large", pb.FIELD_KIND_BYTES, 24, False)
EMPTY = Value("empty", "struct empty", pb.FIELD_KIND_BYTES, 0, False)
WIDE = Value("wide", "__int128", pb.FIELD_KIND_BYTES, 16, False)


def named(value: Value, name: str) -> Value:
    return Value(name, value.ctype, value.kind, value.size, value.signed)


def registers_of(machine: str, *parameters: Value) -> list[str]:
    words = entry_words(Prototype(parameters, None), of_machine(machine), "here")
    assert words[0].value == "here"
    return [f"{word.number}:{word.value.removeprefix('regs->')}" for word in words[1:]]


@pytest.mark.parametrize(
    ("machine", "parameters", "found"),
    [
        ("x86_64", (POINTER,) * 7, ["1:di", "2:si", "3:dx", "4:cx", "5:r8", "6:r9"]),
        ("x86_64", (FLOAT, BOOL), ["2:di"]),
        ("x86_64", (KUID, BOOL), ["2:si"]),
        ("x86_64", (SOCKPTR, BOOL), ["2:dx"]),
        ("x86_64", (WIDE, BOOL), ["2:dx"]),
        ("x86_64", (BOOL, WIDE, BOOL), ["1:di", "3:cx"]),
        ("x86_64", (LARGE, BOOL), ["2:di"]),
        ("x86_64", (EMPTY, BOOL), ["2:di"]),
        # It needs two registers, and one is left: that is for the next.
        ("x86_64", (BOOL,) * 5 + (SOCKPTR, BOOL), ["1:di", "2:si", "3:dx", "4:cx", "5:r8", "7:r9"]),
        ("aarch64", (POINTER,) * 9, [f"{n + 1}:regs[{n}]" for n in range(8)]),
        ("aarch64", (LARGE, BOOL), ["2:regs[1]"]),
        ("aarch64", (BOOL, SOCKPTR, BOOL), ["1:regs[0]", "3:regs[3]"]),
        ("aarch64", (BOOL, WIDE, BOOL), ["1:regs[0]", "3:regs[4]"]),
        ("aarch64", (BOOL,) * 7 + (SOCKPTR, BOOL), [f"{n + 1}:regs[{n}]" for n in range(7)]),
    ],
)
def test_registers(machine: str, parameters: tuple[Value, ...], found: list[str]) -> None:
    assert registers_of(machine, *parameters) == found


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (("ip", "func", "ret"), ["arg_ip", "arg_func", "arg_ret"]),
        (("_skb", "__user", "common_pid"), ["arg__skb", "arg___user", "arg_common_pid"]),
        (("", "from", "ip2"), ["arg1", "from", "ip2"]),
        (("a", "a", "arg_ip"), ["a", "a_2", "arg_ip"]),
    ],
)
def test_names_that_mean_something_else(names: tuple[str, ...], fields: list[str]) -> None:
    parameters = tuple(named(POINTER, name) for name in names)

    words = entry_words(Prototype(parameters, None), of_machine("x86_64"), "here")

    assert [word.field.name for word in words] == ["ip", *fields]
    assert [word.field.offset for word in words] == [0, 8, 16, 24]


@pytest.mark.parametrize(
    ("returned", "fields"),
    [(None, ["ip"]), (KUID, ["ip"]), (FLOAT, ["ip"]), (WIDE, ["ip"]), (BOOL, ["ip", "ret"])],
)
def test_returned_values(returned: Value | None, fields: list[str]) -> None:
    words = return_words(Prototype((), returned), of_machine("aarch64"), None)

    assert [word.field.name for word in words] == fields
    assert words[-1].value == ("regs->regs[0]" if returned is BOOL else "regs->pc")
