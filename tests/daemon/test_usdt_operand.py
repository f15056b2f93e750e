"""Operands of USDT arguments, as compilers write them for each machine."""

from __future__ import annotations

import pytest

from ptraced.probes.usdt_operand import parse_operands
from ptraced.probes.user_places import Place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-4@%edi", Place("register", "edi", size=4, signed=True)),
        ("8@%rax", Place("register", "rax")),
        ("1@%r12b", Place("register", "r12b", size=1)),
        ("1@%ah", Place("register", "ah", size=1)),
        ("-4@$-1", Place("constant", displacement=-1, size=4, signed=True)),
        ("8@$18446744073709551615", Place("constant", displacement=-1)),
        ("4@$0x10", Place("constant", displacement=16, size=4)),
        ("-4@112(%rsp)", Place("memory", "rsp", 112, size=4, signed=True)),
        ("8@-8(%rbp)", Place("memory", "rbp", -8)),
        ("8@(%r8)", Place("memory", "r8")),
        ("8@8(%rax,%rcx,4)", Place("memory", "rax", 8, "rcx", 4)),
        ("8@(%rax,%rcx)", Place("memory", "rax", 0, "rcx", 1)),
    ],
)
def test_x86_64(text: str, place: Place) -> None:
    assert parse_operands(text, "x86_64") == [place]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-4@w0", Place("register", "w0", size=4, signed=True)),
        ("8@x19", Place("register", "x19")),
        ("8@xzr", Place("register", "xzr")),
        ("-4@5", Place("constant", displacement=5, size=4, signed=True)),
        ("8@[sp]", Place("memory", "sp")),
        ("-4@[sp, 12]", Place("memory", "sp", 12, size=4, signed=True)),
        ("8@[x29, #-16]", Place("memory", "x29", -16)),
    ],
)
def test_aarch64(text: str, place: Place) -> None:
    assert parse_operands(text, "aarch64") == [place]


@pytest.mark.parametrize(
    "text",
    [
        "8f@%xmm0",
        "8@%xmm0",
        "8@%fs:40",
        "4@counter(%rip)",
        "4@16(%rip)",
        "8@(%eax)",
        "8@8(,%rcx,4)",
        "8@(%rax,%ecx,4)",
        "8@(%rax,%rcx,3)",
        "3@%rax",
        "8@",
        "8@$99999999999999999999",
        "8@99999999999999999999(%rax)",
        "8@%rax)",
        "8@$010",
        "8@010(%rax)",
        f"8@${'9' * 5000}",
        f"8@$0x{'9' * 5000}",
        f"8@{'9' * 5000}(%rax)",
    ],
)
def test_what_is_not_understood_is_left_out(text: str) -> None:
    assert parse_operands(f"4@%eax {text} -2@%cx", "x86_64") == [
        Place("register", "eax", size=4),
        None,
        Place("register", "cx", size=2, signed=True),
    ]


@pytest.mark.parametrize(
    "text", ["8@[x0, 010]", f"8@{'9' * 5000}", "8@[x0, x1]", "8@[w0, 8]", "8f@d0", "8@d0"]
)
def test_what_is_not_understood_of_aarch64(text: str) -> None:
    assert parse_operands(text, "aarch64")[:1] == [None]


def test_nothing_is_taken_for_an_argument_behind_what_has_no_size() -> None:
    assert parse_operands("8@%rax %rbx 8@%rcx", "x86_64") == [Place("register", "rax")]
    assert parse_operands("8@[x0], 8", "aarch64") == []
    assert parse_operands("", "x86_64") == []
    assert len(parse_operands("8@%rax " * 1000, "x86_64")) == 16
