"""Probes of programs and libraries on a real kernel: what they see of programs that we know."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from commandline import open_folder
from leftovers import kernel_objects, wait_until
from processes import Daemon, running
from streams import events, read_to_end

from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb
from ptraced import uprobe_multi
from unprivileged import DAEMON_CAPABILITIES, NOBODY, as_user

HERE = Path(__file__).parent
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"

pytestmark = pytest.mark.needs_kernel("uprobes")


class Waiting:
    """A program that says its process id, and goes on when it is told to."""

    def __init__(self, *command: str | Path) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())

    def go(self) -> None:
        self.process.communicate(b"go\n")


@pytest.fixture
def host(daemon: Daemon) -> Iterator[Host]:
    with daemon.connect() as connected:
        yield connected


@pytest.fixture
def waiting() -> Iterator[Callable[..., Waiting]]:
    started: list[Waiting] = []

    def start(*command: str | Path) -> Waiting:
        started.append(Waiting(*command))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.process.communicate()


def compiled(source: str, target: Path, *options: str) -> Path:
    compiler = "g++" if source.endswith(".cc") else "gcc"
    subprocess.run([compiler, *options, "-o", target, HERE / source], check=True)
    return target


@pytest.fixture(scope="module", params=["-O0", "-O2"])
def probed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of probed.c with debug information."""
    folder = tmp_path_factory.mktemp("probed")
    return compiled("probed.c", folder / "probed", "-g", request.param)


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with symbols but without debug information."""
    return compiled("probed.c", tmp_path_factory.mktemp("plain") / "probed", "-O2")


def traced(
    host: Host,
    selectors: str | Sequence[str],
    work: Callable[[], object],
    pids: Sequence[int] = (),
) -> list[dict[str, object]]:
    """The own fields of the events that happen during the work, and their names."""
    texts = [selectors] if isinstance(selectors, str) else selectors
    request = pb.TraceRequest(selectors=texts, scope=pb.Scope(pids=pids))
    with host.open(request) as stream:
        work()
        stream.stop()
        found = events(stream, read_to_end(stream))
    return [
        {
            name: value
            for name, value in event.items()
            if name in ("_event", "_pid") or not name.startswith(("_", "common_"))
        }
        for event in found
    ]


def own(found: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """The events without what differs from run to run."""
    return [
        {name: value for name, value in event.items() if name not in ("ip", "_pid", "_event")}
        for event in found
    ]


def test_arguments_have_their_names_and_types(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    program = waiting(probed)

    found = traced(host, f'uprobe:narrow@"{probed}"', program.go)

    assert own(found) == [{"a": -5, "b": 65000, "c": True, "d": 7}] * 3
    assert {event["_pid"] for event in found} == {program.pid}
    assert {event["_event"] for event in found} == {"uprobe:narrow"}


def test_arguments_between_floats_structures_and_on_the_stack(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    found = traced(host, f'uprobe:mixed@"{probed}"//str=text/', waiting(probed).go)

    assert own(found) == [
        {"a": number, "text": "a text", "d": 4, "e": -5, "f": 1 << 33, "g": -7}
        for number in (1, 2, 3)
    ]


def test_a_structure_that_is_returned_in_memory_shifts_no_argument(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    found = traced(host, f'uprobe:large@"{probed}"', waiting(probed).go)

    assert own(found) == [{"a": -number, "b": 4_000_000_000} for number in (1, 2, 3)]


def test_what_functions_return(host: Host, probed: Path, waiting: Callable[..., Waiting]) -> None:
    selectors = [
        f'uretprobe:narrow@"{probed}"',
        f'uretprobe:mixed@"{probed}"',
        f'uretprobe:named@"{probed}"//str=ret/',
        f'uretprobe:nothing@"{probed}"',
        f'uretprobe:real@"{probed}"',
    ]

    found = traced(host, selectors, waiting(probed).go)

    returned = {
        name: [event.get("ret", "none") for event in found if event["_event"] == name]
        for name in {event["_event"] for event in found}
    }
    assert returned == {
        "uretprobe:narrow": [-3] * 3,
        "uretprobe:mixed": [1 << 40] * 3,
        "uretprobe:named": ["one", "two", "zero"],
        "uretprobe:nothing": ["none"] * 3,
        "uretprobe:real": ["none"] * 3,
    }


def test_a_long_text_is_cut_and_marked(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    found = traced(host, f'uprobe:nothing@"{probed}"//str=text:32/', waiting(probed).go)

    cut = "x" * 28 + "..."
    assert [event["text"] for event in own(found)] == ["short", cut, "short"]


def test_a_filter_reads_arguments_and_texts(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    selectors = [
        f'uprobe:mixed@"{probed}"/a >= 2 && g == -7/',
        f'uprobe:nothing@"{probed}"/text == "short"/str=text/',
    ]

    found = traced(host, selectors, waiting(probed).go)

    assert [event["a"] for event in found if event["_event"] == "uprobe:mixed"] == [2, 3]
    texts = [event["text"] for event in found if event["_event"] == "uprobe:nothing"]
    assert texts == ["short", "short"]


def test_no_filter_reads_the_kernel_by_a_programs_pointer(host: Host, tmp_path: Path) -> None:
    program = compiled("pointed.c", tmp_path / "pointed", "-g", "-O0")
    selector = f'uprobe:looks_at@"{program}"/text ~ "*"/'
    with running(program, kernel_address()) as pointed:
        found = traced(host, selector, pointed.make)

    assert len(found) == 1
    assert 0 < int(str(found[0]["text"])) < 1 << 63


def kernel_address() -> int:
    """Where the kernel has code."""
    with open("/proc/kallsyms") as symbols:
        return next(
            int(line.split()[0], 16) for line in symbols if line.split()[1:3] == ["T", "kfree"]
        )


def test_without_debug_information_arguments_have_numbers(
    host: Host, stripped: Path, waiting: Callable[..., Waiting]
) -> None:
    selectors = [f'uprobe:mixed@"{stripped}"//str=arg3/', f'uretprobe:narrow@"{stripped}"']

    found = traced(host, selectors, waiting(stripped).go)

    mixed = [event for event in own(found) if "arg1" in event]
    assert [list(event) for event in mixed] == [[f"arg{number}" for number in range(1, 7)]] * 3
    assert [event["arg1"] for event in mixed] == [1, 2, 3]
    assert [event["arg3"] for event in mixed] == ["a text"] * 3
    assert [event["arg5"] for event in mixed] == [(1 << 64) - 5] * 3
    # A register as a whole: of an int that is returned, the upper half is whatever it is.
    assert [event["ret"] & 0xFFFFFFFF for event in own(found) if "ret" in event] == [  # type: ignore[operator]
        0xFFFFFFFD
    ] * 3


def test_addresses_and_offsets(host: Host, probed: Path, waiting: Callable[..., Waiting]) -> None:
    # GIVEN where a function and its second instruction are, as binutils tell
    symbols = subprocess.run(["nm", probed], capture_output=True, text=True, check=True).stdout
    start = next(int(line.split()[0], 16) for line in symbols.splitlines() if " narrow" in line)
    code = subprocess.run(
        ["objdump", "-d", f"--start-address={start}", probed],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    places = [int(line.split(":")[0], 16) for line in code if line.startswith(" ") and ":" in line]

    selectors = [
        f'uprobe:{start:#x}@"{probed}"',
        f'uprobe:narrow+{places[1] - start}@"{probed}"',
        f'uprobe:{places[2]:#x}@"{probed}"',
    ]
    found = traced(host, selectors, waiting(probed).go)

    at = {event["_event"]: event["ip"] for event in found}
    assert len(found) == 9
    first = at[f"uprobe:{start:#x}"]
    assert isinstance(first, int)
    assert at[f"uprobe:narrow+{places[1] - start}"] == first + places[1] - start
    assert at[f"uprobe:{places[2]:#x}"] == first + places[2] - start
    assert {"a", "b", "c", "d"} <= {name for event in found for name in event}


def test_a_wildcard_is_an_event_per_function(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    found = traced(host, f'uprobe:n*@"{probed}"', waiting(probed).go)

    assert sorted(str(event["_event"]) for event in found) == [
        *["uprobe:named"] * 3,
        *["uprobe:narrow"] * 3,
        *["uprobe:nothing"] * 3,
    ]


def test_many_functions_at_once(host: Host) -> None:
    with host.open(pb.TraceRequest(selectors=[f'uprobe:str*@"{LIBC}"'])) as stream:
        many = len(stream.started.schemas)
        subprocess.run(["/bin/true"], check=True)
        stream.stop()
        read_to_end(stream)

    assert many > 30


def test_a_function_of_libc_in_all_processes_and_in_one(
    host: Host, stripped: Path, waiting: Callable[..., Waiting]
) -> None:
    programs = [waiting(stripped), waiting(stripped)]

    def work() -> None:
        for program in programs:
            program.go()

    everywhere = traced(host, f'uprobe:exit@"{LIBC}"', work)
    programs[:] = [waiting(stripped), waiting(stripped)]
    one = traced(host, f'uprobe:exit@"{LIBC}"', work, pids=[programs[0].pid])

    assert len({event["_pid"] for event in everywhere}) >= 2
    assert {event["_pid"] for event in one} == {programs[0].pid}


def test_return_values_of_libc(host: Host, tmp_path: Path) -> None:
    code = "import os, ctypes; print(ctypes.CDLL(None).getppid())"
    started: list[subprocess.CompletedProcess[str]] = []

    def work() -> None:
        started.append(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        )

    found = traced(host, f'uretprobe:getppid@"{LIBC}"/ret == {os.getpid()}/', work)

    assert [str(event["ret"]) for event in found] == started[0].stdout.split()


def test_cpp_functions_by_their_names(
    host: Host, tmp_path: Path, waiting: Callable[..., Waiting]
) -> None:
    program = compiled("probed.cc", tmp_path / "shapes", "-g", "-O1")
    selectors = [
        f'uprobe:"shapes::Square::scaled(int, char const*) const"@"{program}"//str=unit/',
        f'uprobe:shapes::Square::scaled(long) const@"{program}"',
        f'uprobe:shapes::twice@"{program}"',
        f'uretprobe:_ZN6shapes5twiceIiEET_S1_@"{program}"',
    ]

    found = traced(host, selectors, waiting(program).go)

    assert [{name: event[name] for name in event if name != "this"} for event in own(found)] == [
        {"by": 4, "unit": "cm"},
        {"by": 5},
        {"value": 21},
        {"ret": 42},
    ]


def test_a_python_programs_interpreter(host: Host) -> None:
    python = os.path.realpath("/usr/bin/python3")
    code = "compile('1 + 1', 'of-the-test', 'eval')"

    found = traced(
        host,
        f'uprobe:PyRun_SimpleStringFlags@"{python}"//str=arg1/',
        lambda: subprocess.run([python, "-S", "-c", code], check=True),
    )

    assert code + "\n" in [event["arg1"] for event in found]


def test_usdt_arguments_from_all_its_places(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    found = traced(host, f'usdt:probed:plain@"{probed}"', waiting(probed).go)

    assert {event["_event"] for event in found} == {"usdt:probed:plain"}
    first, second = own(found)[::2], own(found)[1::2]
    assert first == [
        {"arg1": -number, "arg2": 1 << 63 | number, "arg3": 200} for number in (1, 2, 3)
    ]
    assert [(event["arg1"], event["arg3"]) for event in second] == [(5, 1), (5, 2), (5, 3)]


def test_a_usdt_semaphore_is_up_while_someone_looks(
    host: Host, probed: Path, waiting: Callable[..., Waiting]
) -> None:
    selector = f'usdt:probed:guarded@"{probed}"//str=arg2:16/'

    found = traced(host, selector, waiting(probed).go)

    # The program goes there only while its semaphore is not 0.
    assert own(found) == [{"arg1": -1, "arg2": "x" * 12 + "...", "arg3": 1}] * 3


def test_usdt_probes_of_the_python_interpreter(host: Host) -> None:
    python = os.path.realpath("/usr/bin/python3")
    selectors = [
        f'usdt:python:import__find__load__start@"{python}"//str=arg1/',
        f'usdt:python:gc__start@"{python}"',
    ]
    code = "import colorsys, gc; gc.collect(1)"

    found = traced(host, selectors, lambda: subprocess.run([python, "-S", "-c", code], check=True))

    assert "colorsys" in [event["arg1"] for event in found]
    assert 1 in [event["arg1"] for event in found]


def test_nothing_is_left_of_a_session(
    own_daemon: Callable[..., Daemon], probed: Path, waiting: Callable[..., Waiting]
) -> None:
    # GIVEN a program that runs, a function of it as it is in memory
    daemon = own_daemon()
    program = waiting(probed)
    code = lambda: _code_of(program.pid, probed, "narrow")  # noqa: E731
    untouched = code()
    before = kernel_objects(daemon)

    with daemon.connect() as host:
        selectors = [f'uprobe:narrow@"{probed}"', f'usdt:probed:guarded@"{probed}"']
        with host.open(pb.TraceRequest(selectors=selectors)) as stream:
            assert code() != untouched
            stream.stop()
            read_to_end(stream)

    wait_until(lambda: code() == untouched, "the breakpoint is gone")
    wait_until(lambda: kernel_objects(daemon) == before, "programs and files are closed")
    files = [os.readlink(fd) for fd in Path(f"/proc/{daemon.pid}/fd").iterdir()]
    assert str(probed) not in files


def _code_of(pid: int, file: Path, function: str) -> bytes:
    """The first bytes of a function in the memory of a process."""
    symbols = subprocess.run(["nm", file], capture_output=True, text=True, check=True).stdout
    address = next(
        int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(f" {function}")
    )
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    base = next(int(line.partition("-")[0], 16) for line in maps if line.endswith(str(file)))
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(base + address)
        return memory.read(8)


# Makes a mount namespace in which another program lies at the path, and runs that.
_HIDING = 'mount --bind "$1" "$2"; exec "$2"'


@pytest.fixture
def hidden(stripped: Path, tmp_path: Path, waiting: Callable[..., Waiting]) -> tuple[Path, Waiting]:
    """A path, and a process that sees the program of probed.c there; others see /bin/true."""
    path = tmp_path / "seen"
    shutil.copy("/bin/true", path)
    command = ("unshare", "--mount", "sh", "-euc", _HIDING, "sh", stripped, path)
    return path, waiting(*command)


def test_a_file_is_the_one_that_the_target_sees(host: Host, hidden: tuple[Path, Waiting]) -> None:
    path, program = hidden

    with pytest.raises(ClientError) as error:
        host.open(pb.TraceRequest(selectors=[f'uprobe:narrow@"{path}"']))
    found = traced(host, f'uprobe:narrow@"{path}"', program.go, pids=[program.pid])

    assert str(error.value).startswith(f"error: no function 'narrow' in '{path}'")
    assert [event["arg1"] & 0xFF for event in found] == [0xFB] * 3  # type: ignore[operator]


def test_links_lead_nowhere_but_below_the_targets_root(
    host: Host, stripped: Path, tmp_path: Path, waiting: Callable[..., Waiting]
) -> None:
    # GIVEN a process whose root is a folder, and in it a link to a file outside
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    program = compiled("probed.c", root / "inside/probed", "-O2", "-static")
    (root / "up").symlink_to(f"../../..{stripped}")
    (root / "link").symlink_to("/inside/probed")
    process = waiting("chroot", root, "/inside/probed")
    assert program.exists()

    with pytest.raises(ClientError) as error:
        host.open(
            pb.TraceRequest(selectors=['uprobe:narrow@"/up"'], scope=pb.Scope(pids=[process.pid]))
        )
    found = traced(host, 'uprobe:narrow@"/link"', process.go, pids=[process.pid])

    assert str(error.value) == (
        "error: there is no file '/up'\n  uprobe:narrow@\"/up\"\n                 ^~~"
    )
    assert len(found) == 3


@pytest.fixture
def unprivileged() -> Iterator[Daemon]:
    """A daemon that is not root."""
    with open_folder() as folder:
        os.chown(folder, NOBODY, NOBODY)
        running = Daemon(folder, prefix=tuple(as_user([], NOBODY, DAEMON_CAPABILITIES)))
        yield running
        assert running.stop() == 0


def test_a_daemon_that_is_not_root(
    unprivileged: Daemon, stripped: Path, waiting: Callable[..., Waiting]
) -> None:
    selectors = [f'uprobe:exit@"{LIBC}"', f'usdt:probed:plain@"{stripped}"']
    with unprivileged.connect() as host:
        refused, names = "", set()
        try:
            found = traced(host, selectors, waiting(stripped).go)
            names = {event["_event"] for event in found}
        except ClientError as error:
            refused = str(error)

    if uprobe_multi.is_available() or not refused:
        assert (refused, names) == ("", {"uprobe:exit", "usdt:probed:plain"})
    else:
        # Perf events are the other way, and many kernels want CAP_SYS_ADMIN for it.
        assert refused.endswith("maybe CAP_SYS_ADMIN (EACCES)")


def test_a_daemon_that_is_not_root_sees_no_other_namespace(
    unprivileged: Daemon, hidden: tuple[Path, Waiting]
) -> None:
    path, other = hidden
    with unprivileged.connect() as host, pytest.raises(ClientError) as error:
        traced(host, f'uprobe:narrow@"{path}"', print, pids=[other.pid])

    assert str(error.value) == (
        f"error: process {other.pid} has files of its own (another mount namespace or root), and "
        "to look into it the daemon needs CAP_SYS_PTRACE\n"
        f'  uprobe:narrow@"{path}"\n                 {"^".ljust(len(str(path)), "~")}'
    )


@pytest.mark.parametrize("optimization", ["-O0", "-O2"])
def test_the_odder_ways_of_passing_arguments(
    host: Host, tmp_path: Path, waiting: Callable[..., Waiting], optimization: str
) -> None:
    # GIVEN functions whose last argument is 77, or 78 where it comes on the stack
    program = compiled("conventions.c", tmp_path / "conventions", "-g", optimization)

    found = traced(host, f'uprobe:odd_*@"{program}"', waiting(program).go)

    on_stack = {"uprobe:odd_longs", "uprobe:odd_stack", "uprobe:odd_stack_aligned"}
    last = {event["_event"]: event.get("last") for event in found}
    assert len(last) == 22
    assert last == {name: 78 if name in on_stack else 77 for name in last}
