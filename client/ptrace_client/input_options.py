"""Options of `run` that say what it reads, and how it serves perf's scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from ptrace_client.errors import ClientError
from ptrace_client.perf_script.options import DIALECTS, DialectOptions


@dataclass(frozen=True)
class Input:
    """`path` is a recording ("-": stdin), None for live events; `interval_ms` is __interval__'s."""

    path: str | None
    interval_ms: int | None


def input_options() -> list[click.Parameter]:
    """Declare -i in both its senses, and the options of perf's dialect."""
    return [
        click.Option(
            ["-i", "short_input"],
            metavar="FILE|MS",
            help="Read the recording FILE (perf.data; -: stdin) instead of live events; with a "
            "number, the same as --interval.",
        ),
        click.Option(["--input", "input_path"], metavar="FILE", help="Read the recording FILE."),
        click.Option(
            ["--interval"],
            type=click.IntRange(min=1),
            metavar="MS",
            help="Call __interval__() this often.",
        ),
        *dialect_options(),
    ]


def dialect_options() -> list[click.Parameter]:
    """Declare the options of perf's dialect, but --strict, which means something in both."""
    return [
        click.Option(
            ["--dialect"],
            type=click.Choice(DIALECTS),
            help="Whose script it is, where that is not clear.",
        ),
        click.Option(
            ["--sane-values"],
            is_flag=True,
            help="perf's dialect: fields with their sign, text and names, where perf errs.",
        ),
        click.Option(["--kallsyms"], metavar="FILE", help="Symbols of the recorded host's kernel."),
        click.Option(["--vmlinux"], metavar="FILE", help="The recorded host's kernel image."),
        click.Option(
            ["--symfs"], metavar="FOLDER", default="", help="Where the recorded host's files lie."
        ),
        click.Option(
            ["--inline"],
            is_flag=True,
            help="perf's dialect: inlined functions in call chains, too (by addr2line).",
        ),
    ]


def take_input(values: dict[str, Any]) -> Input:
    """Take what to read out of the values of input_options().

    A number of -i is the period, unless --interval is given, too. Raise ClientError if unclear.
    """
    short, path = values.pop("short_input"), values.pop("input_path")
    interval: int | None = values.pop("interval")
    if short is not None and short.isdecimal() and int(short) > 0:
        interval = interval or int(short)
    elif short is not None:
        if path is not None:
            raise ClientError("-i with a file is --input: give one of them")
        path = short
    if path == "" or path == "0" == short:
        raise ClientError("-i takes a file, or the period of __interval__ in ms, 1 and more")
    return Input(path, interval)


def take_dialect(values: dict[str, Any]) -> DialectOptions:
    """Take the options of perf's dialect out of the values; `strict` stays there, too."""
    names = DialectOptions.__dataclass_fields__.keys() - {"strict"}
    return DialectOptions(strict=values["strict"], **{name: values.pop(name) for name in names})
