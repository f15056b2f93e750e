"""Options for call chains, and what they amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from ptrace_client.errors import ClientError
from ptrace_proto import ptrace_pb2 as pb

# As many as the largest depth of the contract, a u32.
_MOST: Final = 2**32 - 1


@dataclass(frozen=True)
class StackChoice:
    """Which stacks are wanted, as the options say; None where they do not.

    Without -g or a kind of callchain, selectors decide which events have stacks; the rest then
    narrows those.
    """

    call_graph: bool = False
    user_callchain: bool | None = None
    kernel_callchain: bool | None = None
    max_stack: int | None = None
    python_callchain: bool = False

    @property
    def kernel(self) -> bool:
        """Whether frames of the kernel are wanted where there are stacks."""
        return self.kernel_callchain is not False

    @property
    def user(self) -> bool:
        """Whether frames of user space are wanted where there are stacks."""
        return self.user_callchain is not False

    def request(self) -> pb.Stacks | None:
        """Return what to ask the daemon for. Raise ClientError where options contradict."""
        if self.python_callchain and not self.user:
            raise ClientError("--python-callchain needs the stacks that --no-user-callchain drops")
        if not (self.kernel or self.user):
            raise ClientError("--no-user-callchain and --no-kernel-callchain leave no stacks")
        stacks = pb.Stacks(
            kernel=bool(self.kernel_callchain or (self.call_graph and self.kernel)),
            user=bool(
                self.user_callchain or self.python_callchain or (self.call_graph and self.user)
            ),
            max_depth=self.max_stack or 0,
            python=self.python_callchain,
            no_kernel=not self.kernel,
            no_user=not self.user,
        )
        return stacks if stacks.ListFields() else None

    def check(self, schemas: Sequence[pb.EventSchema]) -> None:
        """Raise ClientError for options that narrow stacks where no event has any."""
        if any(schema.stack for schema in schemas):
            return
        narrowing = {
            "--no-user-callchain": not self.user,
            "--no-kernel-callchain": not self.kernel,
            "--max-stack": self.max_stack is not None,
        }
        for option, given in narrowing.items():
            if given:
                raise ClientError(f"{option}: no event has stacks; -g captures them")

    def words(self) -> list[str]:
        """Return the options as a command line has them."""
        kinds = {"user": self.user_callchain, "kernel": self.kernel_callchain}
        return [
            *(["-g"] if self.call_graph else []),
            *(
                f"--{'' if wanted else 'no-'}{kind}-callchain"
                for kind, wanted in kinds.items()
                if wanted is not None
            ),
            *([f"--max-stack={self.max_stack}"] if self.max_stack is not None else []),
            *(["--python-callchain"] if self.python_callchain else []),
        ]


def stack_options() -> list[click.Parameter]:
    """Declare the options of StackChoice."""
    return [
        click.Option(
            ["-g", "--call-graph"],
            is_flag=True,
            help="Call chains of all events, of the kernel and of user space.",
        ),
        click.Option(
            ["--user-callchain/--no-user-callchain"],
            default=None,
            help="Call chains of user space; `no-`: without them.",
        ),
        click.Option(
            ["--kernel-callchain/--no-kernel-callchain"],
            default=None,
            help="Call chains of the kernel; `no-`: without them.",
        ),
        click.Option(
            ["--max-stack"],
            type=click.IntRange(1, _MOST),
            metavar="N",
            help="Frames of each kind at most [default: as many as the kernel gives].",
        ),
        click.Option(
            ["--python-callchain"],
            is_flag=True,
            help="Call chains of user space, with a warning of Python programs that do not tell "
            "their functions (python -X perf does).",
        ),
    ]


def take_stacks(values: dict[str, Any]) -> StackChoice:
    """Take the values of stack_options() out of `values`."""
    return StackChoice(**{name: values.pop(name) for name in StackChoice.__dataclass_fields__})
