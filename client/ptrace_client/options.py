"""Options that several commands share, and what they amount to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ptrace_client.errors import ClientError
from ptrace_client.stack_options import StackChoice, stack_options, take_stacks
from ptrace_client.tls import TlsFiles, find_tls
from ptrace_proto import ptrace_pb2 as pb

if TYPE_CHECKING:
    from ptrace_client.host import Host

_CLOCK: Final = "is not here: every event carries CLOCK_MONOTONIC, and _realtime the wall clock"
_SELF: Final = "is not here: it measures perf-prof itself; see `ptrace-client status` and sessions"

# perf-prof's options that cannot be served: spellings, whether a value follows, and why.
_REFUSED: Final = (
    (("--tsc",), False, _CLOCK),
    (("--kvmclock",), True, _CLOCK),
    (("--clock-offset",), True, _CLOCK),
    (("--sampling-limit",), True, _SELF),
    (("--perfeval-cpus",), True, _SELF),
    (("--perfeval-pids",), True, _SELF),
    (("--usage-self",), True, _SELF),
)


_TLS_FILES: Final = {
    "ca": "Certificate of the daemon's authority",
    "cert": "Your certificate",
    "key": "Your key",
}


def _parse_ids(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, ...]:
    """Parse process or thread ids, "1,2,3"."""
    ids = []
    for word in value.split(",") if value is not None else ():
        if not word.strip().isdecimal() or not 0 < int(word) < 2**31:
            raise click.BadParameter(f"{word.strip()!r} is not a process or thread id")
        ids.append(int(word))
    return tuple(ids)


def _parse_names(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[str, ...]:
    """Parse names, "a,b"."""
    return tuple(filter(None, map(str.strip, (value or "").split(","))))


@dataclass(frozen=True)
class Place:
    """Where the daemon is, as --host, --socket and --tls say."""

    host: str | None
    socket: str | None
    tls: TlsFiles | None = None


@dataclass(frozen=True)
class Selection:
    """What to trace and where, as the options say; units as in trace_request()."""

    events: tuple[str, ...]
    cpus: str
    pids: tuple[int, ...]
    tids: tuple[int, ...]
    cgroups: tuple[str, ...]
    mmap_pages: int
    watermark: int | None
    order: bool
    stacks: StackChoice

    def scope(self) -> dict[str, Any]:
        """Return the arguments of trace_request() that say where and how."""
        return {
            "cpus": self.cpus,
            "pids": self.pids,
            "tids": self.tids,
            "cgroups": self.cgroups,
            "buffer_pages": self.mmap_pages,
            "watermark": self.watermark,
            "stacks": self.stacks.request(),
        }

    def described(self, host: Host) -> list[pb.EventSchema]:
        """Return the schemas of the events. Raise ClientError where an option does not fit them."""
        schemas = host.describe(
            self.events, stacks=self.stacks.request(), pids=self.pids, tids=self.tids
        )
        self.stacks.check(schemas)
        return schemas


def place_options() -> list[click.Parameter]:
    """Declare --host, --socket and --tls."""
    return [
        click.Option(
            ["--host"],
            metavar="ADDR",
            help="Daemon at HOST:PORT: by TLS, unless it is on this machine and no --tls is "
            "given [env: PTRACED_HOST].",
        ),
        click.Option(
            ["--tls"],
            metavar="FOLDER",
            help="Folder with ca.crt, user.crt and user.key for TLS [env: PTRACED_TLS; "
            "else ~/.config/ptraced].",
        ),
        *(
            click.Option(
                [f"--tls-{name}"], metavar="FILE", help=f"{what} instead of that folder's."
            )
            for name, what in _TLS_FILES.items()
        ),
        click.Option(
            ["--socket"],
            metavar="PATH",
            help="Daemon at this Unix socket [env: PTRACED_SOCKET; "
            "else /run/ptraced/ptraced.sock].",
        ),
    ]


def event_option(required: bool = True) -> click.Parameter:
    """Declare -e."""
    return click.Option(
        ["-e", "--event", "events"],
        multiple=True,
        required=required,
        metavar="EVENT[,EVENT...]",
        help="Events: sys:name[/filter/ATTR/...] with globs, probes (kprobe:func, "
        'uprobe:func@"file", ...) and sampled ones (profile[/options/ATTR/...], ...). '
        "Several -e add up.",
    )


def missing_event() -> click.MissingParameter:
    """Return the error of a command that needs -e after all, as its other options are."""
    context = click.get_current_context()
    option = next(it for it in context.command.params if it.name == "events")
    return click.MissingParameter(ctx=context, param=option)


def selection_options(*, required: bool = True) -> list[click.Parameter]:
    """Declare the options of Selection, -e `required` or not, and those that are refused."""
    return [
        event_option(required),
        click.Option(["-C", "--cpus"], default="", metavar="LIST", help="CPUs, such as 0-3,8."),
        click.Option(
            ["-p", "--pids"],
            callback=_parse_ids,
            metavar="PID,...",
            help="Processes, with children created later.",
        ),
        click.Option(
            ["-t", "--tids"],
            callback=_parse_ids,
            metavar="TID,...",
            help="Threads, with children created later.",
        ),
        click.Option(
            ["--cgroups"],
            callback=_parse_names,
            metavar="NAME,...",
            help="Cgroups by name or regular expression.",
        ),
        click.Option(
            ["-m", "--mmap-pages"],
            type=int,
            default=0,
            metavar="PAGES",
            help="Kernel buffer per CPU and event, a power of two [default: the daemon's].",
        ),
        click.Option(
            ["--watermark"],
            type=click.IntRange(0, 100),
            metavar="PERCENT",
            help="Fill of a kernel buffer that wakes the daemon; 0: every event.",
        ),
        click.Option(["--order"], is_flag=True, help="Events of all CPUs in the order of time."),
        click.Option(
            ["--monotonic"],
            is_flag=True,
            expose_value=False,
            help="Time of events is CLOCK_MONOTONIC (always so).",
        ),
        *stack_options(),
        *_refused_options(),
    ]


def limit_options() -> list[click.Parameter]:
    """Declare what ends a run: -N and --duration; and -o."""
    return [
        click.Option(
            ["-N", "--exit-N", "exit_n"],
            type=click.IntRange(min=1),
            metavar="N",
            help="End after N events.",
        ),
        click.Option(
            ["--duration"],
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="End after this time.",
        ),
        click.Option(
            ["-o", "--output"],
            metavar="FILE",
            help="Append stdout and stderr to FILE; SIGUSR1 opens it anew.",
        ),
    ]


def take_place(values: dict[str, Any]) -> Place:
    """Take the values of place_options() out of `values`."""
    given = {name: values.pop(f"tls_{name}") for name in _TLS_FILES}
    folder = values.pop("tls")
    tls = None
    if folder or any(given.values()):
        tls = find_tls(folder, given["ca"], given["cert"], given["key"])
    return Place(values.pop("host"), values.pop("socket"), tls)


def take_selection(values: dict[str, Any]) -> Selection:
    """Take the values of selection_options() out of `values`."""
    stacks = take_stacks(values)
    names = Selection.__dataclass_fields__.keys() - {"stacks"}
    return Selection(**{name: values.pop(name) for name in names}, stacks=stacks)


def _refused_options() -> Iterable[click.Parameter]:
    for spellings, has_value, reason in _REFUSED:
        yield click.Option(
            spellings,
            is_flag=not has_value,
            default=None,
            hidden=True,
            expose_value=False,
            is_eager=True,
            callback=_refuse(reason),
        )


def _refuse(reason: str) -> Any:
    def callback(context: click.Context, option: click.Parameter, value: object) -> None:
        if value is not None:
            raise ClientError(f"{option.opts[-1]} {reason}")

    return callback
