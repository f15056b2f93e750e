"""What scripts print: tables, histograms, percentiles; names of system calls."""

from __future__ import annotations

import pytest

from ptrace_client.report import percentile, print_histogram, print_table
from ptrace_client.syscall_names import syscall_name


def test_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("COMM", "CALLS", "US"), [("bash", 12, 3.14), ("evil\n\x1b[2J", 7, 10.0)])
    assert capsys.readouterr().out == (
        "COMM           CALLS    US\nbash              12   3.1\nevil\\n\\x1b[2J      7  10.0\n"
    )


def test_a_table_without_rows_is_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("COMM", "CALLS"), [])
    assert capsys.readouterr().out == "COMM  CALLS\n"


def test_a_histogram(capsys: pytest.CaptureFixture[str]) -> None:
    print_histogram({0: 1, 2: 10, 3: 5}, "us")
    assert capsys.readouterr().out == (
        "       0 us        1 |#####\n"
        "       1 us        0 |\n"
        "       2 us       10 |##################################################\n"
        "       4 us        5 |#########################\n"
    )


def test_a_histogram_of_nothing_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_histogram({}, "us")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 3), (0.99, 4), (1, 4)])
def test_percentiles(share: float, value: int) -> None:
    assert percentile([1, 2, 3, 4], share) == value


@pytest.mark.parametrize(
    ("number", "machine", "name"),
    [
        (0, "x86_64", "read"),
        (257, "x86_64", "openat"),
        (56, "aarch64", "openat"),
        (5, "i686", "open"),
        (102, "ppc64le", "socketcall"),
        (134, "x86_64", "uselib"),
        (0, "../x", "0"),
        (1023, "x86_64", "1023"),
        (0, "pdp11", "0"),
    ],
)
def test_names_of_system_calls(number: int, machine: str, name: str) -> None:
    assert syscall_name(number, machine) == name
