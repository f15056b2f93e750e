"""Options for call chains: what they ask for, and what they narrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from event_samples import CALLCHAIN, WAKEUP, make_batch, make_schema, make_stack, make_started

from fakeserver import FakeDaemon
from ptrace_client.cli import execute
from ptrace_client.errors import ClientError
from ptrace_client.host import connect
from ptrace_client.request import stack_request
from ptrace_client.stack_options import StackChoice, stack_options, take_stacks
from ptrace_proto import ptrace_pb2 as pb


def chosen(line: str) -> StackChoice:
    command = click.Command("x", params=stack_options())
    with command.make_context("x", line.split()) as context:
        return take_stacks(context.params)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("-g", pb.Stacks(kernel=True, user=True)),
        ("--call-graph --max-stack 5", pb.Stacks(kernel=True, user=True, max_depth=5)),
        ("-g --no-user-callchain", pb.Stacks(kernel=True, no_user=True)),
        ("--no-kernel-callchain -g", pb.Stacks(user=True, no_kernel=True)),
        ("--user-callchain", pb.Stacks(user=True)),
        ("--kernel-callchain", pb.Stacks(kernel=True)),
        ("--user-callchain --kernel-callchain", pb.Stacks(kernel=True, user=True)),
        ("--user-callchain --no-kernel-callchain", pb.Stacks(user=True, no_kernel=True)),
        # For events whose selectors ask for stacks.
        ("--no-user-callchain", pb.Stacks(no_user=True)),
        ("--max-stack 5", pb.Stacks(max_depth=5)),
        ("--python-callchain", pb.Stacks(user=True, python=True)),
        ("-g --python-callchain", pb.Stacks(kernel=True, user=True, python=True)),
    ],
)
def test_request(line: str, expected: pb.Stacks | None) -> None:
    assert chosen(line).request() == expected


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (
            "-g --no-user-callchain --no-kernel-callchain",
            "--no-user-callchain and --no-kernel-callchain leave no stacks",
        ),
        (
            "--python-callchain --no-user-callchain",
            "--python-callchain needs the stacks that --no-user-callchain drops",
        ),
    ],
)
def test_contradictions(line: str, text: str) -> None:
    with pytest.raises(ClientError) as caught:
        chosen(line).request()
    assert str(caught.value) == text


@pytest.mark.parametrize("option", ["--no-user-callchain", "--no-kernel-callchain", "--max-stack"])
def test_there_must_be_something_to_narrow(option: str) -> None:
    choice = chosen(f"{option}{' 5' * (option == '--max-stack')}")
    with pytest.raises(ClientError) as caught:
        choice.check([make_schema()])
    assert str(caught.value) == f"{option}: no event has stacks; -g captures them"
    choice.check([make_schema(), pb.EventSchema(stack=True)])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-g --no-user-callchain --max-stack=5",
        "--user-callchain --no-kernel-callchain --python-callchain",
    ],
)
def test_words(line: str) -> None:
    assert chosen(line).words() == line.split()
    assert chosen(" ".join(chosen(line).words())) == chosen(line)


@pytest.mark.parametrize(
    ("stacks", "depth", "expected"),
    [
        (False, 0, None),
        (True, 0, pb.Stacks(kernel=True, user=True)),
        ("kernel", 0, pb.Stacks(kernel=True)),
        ("user", 7, pb.Stacks(user=True, max_depth=7)),
        (False, 7, pb.Stacks(max_depth=7)),
    ],
)
def test_from_the_arguments_of_trace(
    stacks: bool | str, depth: int, expected: pb.Stacks | None
) -> None:
    assert stack_request(stacks, depth) == expected


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("kernal",), "stacks 'kernal' are none: there are 'kernel', 'user', and True"),
        ((True, -1), "stacks of -1 frames: the depth must not be negative"),
    ],
)
def test_wrong_arguments_of_trace(arguments: Any, text: str) -> None:
    with pytest.raises(ClientError) as caught:
        stack_request(*arguments)
    assert str(caught.value) == text


CHAIN = (
    (0xFFFFFFFF81000010, "vfs_read", 0x10, True, "[kernel.kallsyms]"),
    (0x401136, "main", 6, False, "/usr/bin/x"),
)
KERNEL_LINE = "    ffffffff81000010 vfs_read+0x10 ([kernel.kallsyms])\n"
USER_LINE = "    0000000000401136 main+0x6 (/usr/bin/x)\n"
Run = Callable[..., int]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    schema = make_schema(own=(*WAKEUP, CALLCHAIN))
    del schema.all_fields[-1]
    schema.stack = True

    def script(fake: FakeDaemon, request: pb.TraceRequest) -> Iterator[pb.TraceResponse]:
        yield pb.TraceResponse(started=make_started(schema))
        yield pb.TraceResponse(
            stacks=[make_stack(1, *CHAIN)], batches=[make_batch(schema, {"_callchain": 1})]
        )
        yield pb.TraceResponse(end=pb.End(reason=pb.END_REASON_TARGETS_GONE))

    with FakeDaemon(tmp_path / "ptraced.sock") as fake:
        fake.info.features.append("stacks")
        fake.schemas, fake.script = [schema], script
        yield fake


@pytest.fixture
def trace(daemon: FakeDaemon, tmp_path: Path) -> Run:
    def run(*options: str) -> int:
        place = ["--socket", str(tmp_path / "ptraced.sock")]
        return execute(["trace", "-e", "sched:sched_wakeup", *place, *options])

    return run


@pytest.mark.parametrize(
    ("option", "lines", "stacks"),
    [
        ("-g", KERNEL_LINE + USER_LINE, pb.Stacks(kernel=True, user=True)),
        ("--no-user-callchain", KERNEL_LINE + USER_LINE, pb.Stacks(no_user=True)),
        ("--no-kernel-callchain", KERNEL_LINE + USER_LINE, pb.Stacks(no_kernel=True)),
    ],
)
def test_trace_prints_chains(
    trace: Run,
    daemon: FakeDaemon,
    capsys: pytest.CaptureFixture[str],
    option: str,
    lines: str,
    stacks: pb.Stacks,
) -> None:
    assert trace("-p", "41", option) == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert " sched:sched_wakeup: " in first
    assert rest == lines
    assert daemon.seen["Trace"][0].stacks == stacks
    assert daemon.seen["Trace"][0].projections[0].all_fields
    (described,) = daemon.seen["DescribeEvents"]
    assert described.stacks == stacks
    assert list(described.scope.pids) == [41]


@pytest.mark.parametrize("command", ["trace", "template"])
def test_without_stacks_there_is_nothing_to_narrow(
    daemon: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    daemon.schemas = [make_schema()]
    place = ["--socket", str(tmp_path / "ptraced.sock")]
    assert execute([command, "-e", "sched:sched_wakeup", "--max-stack", "5", *place]) == 2
    assert capsys.readouterr().err == "error: --max-stack: no event has stacks; -g captures them\n"


def test_a_template_names_the_options(
    daemon: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--socket", str(tmp_path / "ptraced.sock")]
    assert execute(["template", "-e", "sched:sched_wakeup", "-g", *place]) == 0
    assert daemon.seen["DescribeEvents"][0].stacks == pb.Stacks(kernel=True, user=True)
    printed = capsys.readouterr().out
    assert printed.startswith("# ptrace-client run -e sched:sched_wakeup -g\n#\n")
    assert "    _callchain : list\n" in printed


@pytest.mark.parametrize(
    ("selector", "option", "feature", "what"),
    [
        ("sched:sched_wakeup", "-g", "stacks", "stacks"),
        ("sched:sched_wakeup//stack/", "", "stacks", "stacks"),
        ("kprobe:vfs_read", "", "probes", "probes of functions"),
        ('usdt:a:b@"/x"', "", "probes", "probes of functions"),
        ("profile", "", "sampling", "sampled events"),
        ("profile/-F 99/", "", "sampling", "sampled events"),
    ],
)
def test_an_older_daemon(
    daemon: FakeDaemon,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    selector: str,
    option: str,
    feature: str,
    what: str,
) -> None:
    daemon.info.features[:] = ["tracepoint", "projection"]
    socket = tmp_path / "ptraced.sock"
    assert execute(["trace", "-e", selector, "--socket", str(socket), *option.split()]) == 2
    assert capsys.readouterr().err == (
        f"error: the daemon at unix:{socket} (ptraced 0.1.0) is not able to give {what}: "
        f"its feature {feature!r} is missing; install a newer ptraced\n"
    )


def test_a_loop_with_stacks(daemon: FakeDaemon, tmp_path: Path) -> None:
    with connect(socket=tmp_path / "ptraced.sock") as host:
        events = list(host.trace("sched:sched_wakeup", stacks=True, fields=["_callchain"]))
    assert [[frame["symbol"] for frame in event._callchain] for event in events] == [
        ["vfs_read", "main"]
    ]
    (described,), (request,) = daemon.seen["DescribeEvents"], daemon.seen["Trace"]
    assert described.stacks == request.stacks == pb.Stacks(kernel=True, user=True)
    assert list(request.projections[0].fields) == ["_callchain"]
