"""What of events users see who may not see all: blank fields, addresses, filters, stacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from callers import own_rule
from commandline import open_folder
from processes import Daemon
from sampled import Program, taken
from strangers import ANN, BEN, CAT, connected_as
from streams import GETPPID, Total, read_to_end
from users import AS_DAEMON

from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb
from unprivileged import as_user

WAKES_ELSEWHERE = Path(__file__).with_name("wakes_elsewhere.py")
UPPER_HALF = 1 << 63
# Ann sees her own tasks, Ben all of them, Cat her own with stacks of the user. Root sees all.
RULES = "".join(
    (
        own_rule(ANN),
        own_rule(BEN, tasks="all"),
        own_rule(CAT, stacks="user"),
        own_rule(0, tasks="all", kernel_addresses=True, admin=True),
    )
)
# Its /proc is that of a host where users see their own tasks only.
HIDEPID = (
    *("unshare", "--mount", "--propagation", "private", "sh", "-euc"),
    'mount -t proc -o hidepid=invisible proc /proc; exec "$@"',
    "sh",
)
BOTH = pb.Stacks(kernel=True, user=True)
KFREE = "kmem:kfree"


@pytest.fixture(scope="module")
def folder(samples_binary: Path) -> Iterator[Path]:
    """A folder that all users can enter, with the program of samples.c."""
    with open_folder() as folder:
        shutil.copy(samples_binary, folder / "samples")
        yield folder


@contextmanager
def serving(folder: Path, name: str, prefix: tuple[str, ...] = ()) -> Iterator[Daemon]:
    place = folder / name
    place.mkdir(mode=0o755)
    # The relays of strangers.py bind their sockets beside the daemon's.
    place.chmod(0o777)
    daemon = Daemon(place, config=RULES, prefix=prefix)
    yield daemon
    assert daemon.stop() == 0


@pytest.fixture(scope="module")
def hosts(folder: Path) -> Iterator[dict[int, Host]]:
    """Connections of all users to one daemon, which is not root."""
    with serving(folder, "daemon", AS_DAEMON) as daemon, ExitStack() as connections:
        found = {
            uid: connections.enter_context(connected_as(uid, daemon)) for uid in (ANN, BEN, CAT)
        }
        yield found | {0: connections.enter_context(daemon.connect())}


@pytest.fixture(scope="module")
def anns(folder: Path) -> Iterator[Program]:
    """The program of samples.c, run by Ann."""
    running = Program(folder / "samples", as_user([], ANN))
    yield running
    running.end()


@pytest.fixture(scope="module")
def cats(folder: Path) -> Iterator[Program]:
    running = Program(folder / "samples", as_user([], CAT))
    yield running
    running.end()


def traced(
    host: Host, selector: str, work: Callable[[], object], *fields: str, **options: Any
) -> tuple[list[dict[str, Any]], Total]:
    """The events of a session while something is done; all fields, or those that are named."""
    name = selector.split("/")[0]
    projection = pb.Projection(event=name, fields=fields, all_fields=not fields)
    request = pb.TraceRequest(selectors=[selector], projections=[projection], **options)
    with host.open(request) as stream:
        work()
        stream.stop()
        total = read_to_end(stream, Total(schemas=list(stream.started.schemas)))
        return taken(stream, total, fields), total


def of(program: Program) -> dict[str, Any]:
    return {"scope": pb.Scope(pids=[program.pid])}


def refusal(host: Host, selector: str, **options: Any) -> str:
    request = pb.TraceRequest(selectors=[selector], **options)
    with pytest.raises(ClientError) as caught, host.open(request):
        pass
    return str(caught.value)


def test_whom_a_task_gives_way_to_is_shown_as_proc_shows_it(
    hosts: dict[int, Host], anns: Program
) -> None:
    found, total = traced(hosts[ANN], "sched:sched_switch", lambda: anns.do("n", 20))

    mine = [event for event in found if event["_pid"] == anns.pid]
    assert len(mine) >= 20
    assert {event["prev_pid"] for event in mine} == {anns.pid}
    assert {event["prev_comm"] for event in mine} == {"samples"}
    assert all(event["next_comm"] for event in mine)
    assert total.warnings == []


def test_others_tasks_are_blank_where_proc_does_not_show_them(folder: Path, anns: Program) -> None:
    with serving(folder, "hidepid", HIDEPID) as daemon:
        with connected_as(ANN, daemon) as ann:
            found, total = traced(ann, "sched:sched_switch", lambda: anns.do("n", 20))
            filtered = refusal(ann, "sched:sched_switch/prev_pid > 0 && next_pid == 1/")
        with daemon.connect() as root:
            roots, _ = traced(root, "sched:sched_switch", lambda: anns.do("n", 20), **of(anns))

    mine = [event for event in found if event["_pid"] == anns.pid]
    assert len(mine) >= 20
    assert {event["prev_comm"] for event in mine} == {"samples"}
    assert {(e["next_comm"], e["next_pid"], e["next_prio"]) for e in mine} == {("", 0, 0)}
    (schema,) = total.schemas
    blank = {field.name for field in schema.fields if field.blank}
    assert blank == {"next_comm", "next_pid", "next_prio"}
    (warning,) = total.warnings
    fields, _, rest = warning.partition(" of ")
    assert set(fields.split(", ")) == blank
    assert rest == "sched:sched_switch is blank, since the policy does not show it to you"
    assert filtered == (
        "error: the policy does not show you 'next_pid' of sched:sched_switch: no filter on it\n"
        "  sched:sched_switch/prev_pid > 0 && next_pid == 1/\n"
        "                                     ^~~~~~~~"
    )
    assert all(event["next_comm"] for event in roots)


def test_fields_of_dynamic_length_are_blank_too(folder: Path) -> None:
    command = as_user([sys.executable, WAKES_ELSEWHERE, "20"], ANN)
    with (
        serving(folder, "dynamic", HIDEPID) as daemon,
        connected_as(ANN, daemon) as ann,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as program,
    ):
        stdin, stdout = program.stdin, program.stdout
        assert stdin is not None
        assert stdout is not None
        assert stdout.readline() == "ready\n"

        def wake() -> None:
            print("go", file=stdin, flush=True)
            assert stdout.readline() == "done\n"

        found, _ = traced(ann, "sched:sched_migrate_task", wake)
        stdin.close()

    mine = [event for event in found if event["_pid"] == program.pid]
    # The child may have slept on the first CPU from the beginning.
    assert len(mine) >= 19
    assert {(e["comm"], e["pid"], e["prio"], e["orig_cpu"], e["dest_cpu"]) for e in mine} == {
        ("", 0, 0, 0, 0)
    }


def test_addresses_of_the_kernel_are_shown_to_whom_policy_grants_them(
    hosts: dict[int, Host], anns: Program
) -> None:
    hidden, total = traced(hosts[BEN], KFREE, lambda: anns.do("f", 10), **of(anns))
    shown, roots = traced(hosts[0], KFREE, lambda: anns.do("f", 10), **of(anns))

    assert hidden
    assert {(event["call_site"], event["ptr"]) for event in hidden} == {(0, 0)}
    assert min(event["call_site"] for event in shown) >= UPPER_HALF
    assert total.warnings == [
        "call_site, ptr of kmem:kfree has 0 in place of addresses of the kernel, which the policy "
        "does not show you"
    ]
    assert roots.warnings == []


def test_stacks_are_shared_and_have_addresses_for_whom_they_are_shown(
    hosts: dict[int, Host], anns: Program
) -> None:
    asked = pb.TraceRequest(selectors=["sched:sched_switch"], stacks=BOTH)
    with hosts[BEN].open(asked) as bens, hosts[0].open(asked) as roots:
        anns.do("n", 20)
        for stream in (bens, roots):
            stream.stop()
        hidden, shown = read_to_end(bens), read_to_end(roots)

    theirs = {stack.id: stack for stack in hidden.stacks}
    both = [(theirs[stack.id], stack) for stack in shown.stacks if stack.id in theirs]
    assert both
    for masked, whole in both:
        in_kernel = [frame for frame in masked.frames if frame.kernel]
        assert {frame.address for frame in in_kernel} <= {0}
        assert all(frame.address >= UPPER_HALF for frame in whole.frames if frame.kernel)
        assert [(f.symbol, f.offset, f.dso) for f in masked.frames] == [
            (f.symbol, f.offset, f.dso) for f in whole.frames
        ]
        assert [f.address for f in masked.frames if not f.kernel] == [
            f.address for f in whole.frames if not f.kernel
        ]
    assert any(frame.symbol for masked, _ in both for frame in masked.frames if frame.kernel)


def test_samples_have_no_addresses_of_the_kernel(hosts: dict[int, Host], anns: Program) -> None:
    fields = ("ip", "regs_intr", "phys_addr")

    def switches(uid: int) -> list[dict[str, Any]]:
        work = lambda: anns.do("n", 20)  # noqa: E731
        return traced(hosts[uid], "context-switches", work, *fields, **of(anns))[0]

    hidden, shown = switches(BEN), switches(0)
    assert len(hidden) >= 20
    assert {event["ip"] for event in hidden} == {0}
    assert all(event["regs_intr"] == {"abi": 0} for event in hidden)
    assert min(event["ip"] for event in shown) >= UPPER_HALF
    assert all(len(event["regs_intr"]) > 1 for event in shown)


def test_samples_of_programs_have_their_addresses(hosts: dict[int, Host], anns: Program) -> None:
    found, _ = traced(
        hosts[ANN], "page-faults", lambda: anns.do("t", 20), "ip", "addr", "regs_intr"
    )

    mine = [event for event in found if 0 <= event["addr"] - anns.region < 65536 * 4096]
    assert len(mine) == 20
    assert all(0 < event["ip"] < UPPER_HALF for event in mine)
    assert all(event["regs_intr"]["ip"] == event["ip"] for event in mine)


def test_what_a_cpu_counts_of_all_tasks_is_blank(hosts: dict[int, Host], anns: Program) -> None:
    # So many that some are sampled, whatever period the faults of others have led to.
    selector = "page-faults/-F max/"
    found, total = traced(hosts[ANN], selector, lambda: anns.do("t", 40_000))
    fixed, _ = traced(hosts[ANN], "page-faults/-c 5/", lambda: anns.do("t", 2000), "period", "read")

    mine = [event for event in found if event["pid"] == anns.pid]
    assert mine
    assert {event["period"] for event in mine} == {0}
    assert {tuple(event["read"].values()) for event in mine} <= {(0, 0, 0, 0), (0, 0, 0, 0, 0)}
    assert {field.name for field in total.schemas[0].fields if field.blank} == {"period", "read"}
    # The period that was asked for tells nothing.
    assert {event["period"] for event in fixed} == {5}
    assert {event["read"]["value"] for event in fixed} == {0}


@pytest.mark.parametrize(
    ("uid", "selector", "message"),
    [
        (
            BEN,
            "kmem:kfree/call_site == 0xffffffff81000000/",
            "the policy does not show you 'call_site' of kmem:kfree: no filter on it\n"
            "  kmem:kfree/call_site == 0xffffffff81000000/\n"
            "             ^~~~~~~~~",
        ),
        (
            BEN,
            "kmem:kfree//alias=mine/,kmem:kfree/_pid > 0 && -(ptr + 1) < 5/alias=other/",
            "the policy does not show you 'ptr' of kmem:kfree: no filter on it\n"
            "  kmem:kfree/_pid > 0 && -(ptr + 1) < 5/alias=other/\n"
            "                           ^~~",
        ),
        (
            BEN,
            "kmem:kfree/ptr.ustring ~ 'a*'/",
            "the policy does not show you 'ptr' of kmem:kfree: no filter on it\n"
            "  kmem:kfree/ptr.ustring ~ 'a*'/\n"
            "             ^~~~~~~~~~~",
        ),
        (
            ANN,
            "page-faults/--filter 'addr > 4096 && ip > 0'/",
            "the policy does not show you 'addr' of page-faults: no filter on it\n"
            "  page-faults/--filter 'addr > 4096 && ip > 0'/\n"
            "                        ^~~~",
        ),
        (
            ANN,
            "page-faults/-F 100 --filter 'period > 5'/",
            "the policy does not show you 'period' of page-faults: no filter on it\n"
            "  page-faults/-F 100 --filter 'period > 5'/\n"
            "                               ^~~~~~",
        ),
    ],
)
def test_no_filter_tells_what_is_not_shown(
    hosts: dict[int, Host], uid: int, selector: str, message: str
) -> None:
    assert refusal(hosts[uid], selector) == f"error: {message}"


def test_who_sees_a_field_may_filter_on_it(hosts: dict[int, Host], anns: Program) -> None:
    work = lambda: anns.do("f", 10)  # noqa: E731
    found, _ = traced(hosts[0], f"{KFREE}/ptr > 0x8000000000000000/", work, **of(anns))

    assert found


@pytest.mark.parametrize("selector", [KFREE, "block:*", "mem:0x1000/8:w", "cgroup-switches"])
def test_what_may_tell_of_others_is_denied(hosts: dict[int, Host], selector: str) -> None:
    first = {"block:*": "block:blk_zone_append_update_request_bio", "mem:0x1000/8:w": "mem:0x1000"}
    message = refusal(hosts[ANN], selector)

    assert message.startswith(f"error: {first.get(selector, selector)}")
    assert message.endswith(
        f' may tell of others\' tasks, and rule "user-{ANN}" allows you your own; '
        "ask this host's administrator for one of all tasks"
    )


def test_wildcards_leave_out_what_is_denied_and_say_so(
    hosts: dict[int, Host], anns: Program
) -> None:
    selectors = ["vmscan:*direct_reclaim*,sched:sched_[ps]*"]
    # It may not lock much memory.
    request = pb.TraceRequest(selectors=selectors, buffer_pages=16)
    with hosts[ANN].open(request) as stream:
        stream.stop()
        total = read_to_end(stream, Total(schemas=list(stream.started.schemas)))

    names = {f"{schema.system}:{schema.name}" for schema in total.schemas}
    assert {"sched:sched_switch", "sched:sched_process_fork"} <= names
    assert not names & {"sched:sched_process_free", "sched:sched_stat_runtime"}
    (warning,) = [text for text in total.warnings if "leaves out" in text]
    said, _, listed = warning.partition(": ")[2].partition(": ")
    assert "sched:sched_process_free" in f"{said}{listed}"
    assert warning.startswith(
        "'sched:sched_[ps]*' leaves out what the policy does not show you: sched:"
    )


def test_breakpoints_in_the_kernel_are_not_placed_by_its_addresses(hosts: dict[int, Host]) -> None:
    message = refusal(hosts[BEN], "mem:0xffffffff81000000/8:w")

    # Where the daemon may not place any, that is said first.
    assert "which the policy does not show you" in message or "CAP_SYS_ADMIN" in message


@pytest.mark.parametrize(
    ("stacks", "message"),
    [
        (pb.Stacks(kernel=True), f"error: the policy shows you no kernel stacks of {GETPPID}"),
        (
            pb.Stacks(kernel=True, no_user=True),
            f"error: the policy shows you no kernel stacks of {GETPPID}",
        ),
    ],
)
def test_a_part_of_stacks_that_is_not_granted_is_refused(
    hosts: dict[int, Host], stacks: pb.Stacks, message: str
) -> None:
    assert refusal(hosts[CAT], GETPPID, stacks=stacks) == message


def test_of_both_parts_those_come_that_are_granted(hosts: dict[int, Host], cats: Program) -> None:
    found, total = traced(
        hosts[CAT], "sched:sched_switch", lambda: cats.do("n", 20), "_callchain", stacks=BOTH
    )

    assert len(found) >= 20
    assert {frame.kernel for stack in total.stacks for frame in stack.frames} == {False}
    assert total.warnings == ["kernel stacks are left out where the policy shows you none"]
