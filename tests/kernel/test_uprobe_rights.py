"""Whose files and processes user probes go into, with users, files and processes of this host."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from callers import own_rule
from leftovers import holdings, kernel_objects, wait_until
from processes import Daemon
from strangers import connected_as
from streams import events, read_to_end
from users import AS_DAEMON, DAEMON_UID

from ptrace_client.errors import ClientError
from ptrace_client.host import Host
from ptrace_proto import ptrace_pb2 as pb

HERE = Path(__file__).parent
LIBC = os.path.realpath("/lib/x86_64-linux-gnu/libc.so.6")
# Zoe may see all tasks, and yet probe only what is hers.
ANN, BEN, NED, ZOE = 64101, 64102, 64103, 64104
BREAKPOINT = 0xCC
ROUNDS = 200
SWAPS = 300

pytestmark = pytest.mark.needs_kernel("uprobes")


class Waiting:
    """A program of a user that says its process id, and goes on when it is told to."""

    def __init__(self, uid: int, program: Path) -> None:
        ids = ["--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
        command = ["setpriv", *ids, program]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.pid = int(self.process.stdout.readline())

    def go(self) -> None:
        self.process.communicate(b"go\n")

    def byte(self, file: Path | str, symbol: str) -> int:
        """What is in its memory where a symbol of a file that it has mapped is."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(mapped_at(self.pid, file) + address(file, symbol))
            return memory.read(1)[0]


def address(file: Path | str, symbol: str) -> int:
    told = subprocess.run(["nm", "-D", file], capture_output=True, text=True, check=True).stdout
    told += subprocess.run(["nm", file], capture_output=True, text=True, check=False).stdout
    words = (line.replace("@", " ").split() for line in told.splitlines())
    return next(int(found[0], 16) for found in words if found[2:3] == [symbol])


def mapped_at(pid: int, file: Path | str) -> int:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return next(int(line.partition("-")[0], 16) for line in lines if line.endswith(str(file)))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that all users may enter."""
    made = Path(tempfile.mkdtemp(prefix="ptraced-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module", params=["root", "deployed"])
def daemon(request: pytest.FixtureRequest, folder: Path) -> Iterator[Daemon]:
    """A daemon that lets Ann and Ben probe what is theirs, and Ned nothing, by the same rule."""
    own = folder / request.param
    own.mkdir()
    deployed = request.param == "deployed"
    if deployed:
        os.chown(own, DAEMON_UID, DAEMON_UID)
    config = own_rule(ANN) + own_rule(BEN) + own_rule(NED, uprobes="none")
    config += own_rule(ZOE, tasks="all")
    running = Daemon(own, config=config, prefix=AS_DAEMON if deployed else ())
    yield running
    assert running.stop() == 0


@pytest.fixture
def ann(daemon: Daemon) -> Iterator[Host]:
    with connected_as(ANN, daemon) as host:
        yield host


@pytest.fixture(scope="module")
def program(folder: Path) -> Path:
    """A program of root's that all may read."""
    binary = folder / "probed"
    subprocess.run(["gcc", "-O2", "-o", binary, HERE / "probed.c"], check=True)
    binary.chmod(0o755)
    return binary


@pytest.fixture
def anns(program: Path, folder: Path) -> Iterator[Path]:
    """A folder of Ann's with a program of hers."""
    made = folder / "ann"
    made.mkdir()
    shutil.copy(program, made / "program")
    for path in (made, made / "program"):
        os.chown(path, ANN, ANN)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def waiting() -> Iterator[Callable[[int, Path], Waiting]]:
    started: list[Waiting] = []

    def start(uid: int, program: Path) -> Waiting:
        started.append(Waiting(uid, program))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def asked(selector: str, pids: Sequence[int] = ()) -> pb.TraceRequest:
    return pb.TraceRequest(selectors=[selector], scope=pb.Scope(pids=pids))


def refusal(host: Host, selector: str, pids: Sequence[int] = ()) -> str:
    """What a caller is told who asks for a session; who asks for the schemas is told the same."""
    with pytest.raises(ClientError) as refused:
        host.open(asked(selector, pids))
    with pytest.raises(ClientError) as undescribed:
        host.describe([selector], pids=pids)
    assert str(undescribed.value) == str(refused.value)
    return str(refused.value)


def pointed(message: str, selector: str, part: str) -> str:
    at = selector.index(part)
    return f"error: {message}\n  {selector}\n  {' ' * at}^{'~' * (len(part) - 1)}"


def test_own_files_are_probed_in_all_own_processes(
    ann: Host, anns: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    # GIVEN a program of Ann's that Ben runs, too
    mine = [waiting(ANN, anns / "program"), waiting(ANN, anns / "program")]
    bens = waiting(BEN, anns / "program")

    with ann.open(asked(f'uprobe:narrow@"{anns}/program"')) as stream:
        for one in (bens, *mine):
            one.go()
        stream.stop()
        total = read_to_end(stream)
        found = Counter(event["_pid"] for event in events(stream, total))

    assert found == {one.pid: 3 for one in mine}
    assert total.warnings == []


def test_files_of_others_are_probed_in_the_processes_that_are_named(
    ann: Host, program: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    one, another, bens = (waiting(uid, program) for uid in (ANN, ANN, BEN))

    def breakpoints() -> list[bool]:
        return [who.byte(LIBC, "exit") == BREAKPOINT for who in (one, another, bens)]

    with ann.open(asked(f'uprobe:exit@"{LIBC}"', [one.pid])) as stream:
        # THEN nobody else pays for it
        assert breakpoints() == [True, False, False]
        for who in (bens, another, one):
            who.go()
        stream.stop()
        total = read_to_end(stream)
        found = Counter(event["_pid"] for event in events(stream, total))

    assert found == {one.pid: 1}
    assert total.warnings == [
        "probes of files that are not yours are in the processes that -p names, not in those "
        "that they start"
    ]


def test_nothing_is_left_in_a_process_behind_its_session(
    ann: Host, daemon: Daemon, program: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    one = waiting(ANN, program)
    untouched = one.byte(LIBC, "exit")
    before = kernel_objects(daemon)

    with ann.open(asked(f'uprobe:exit@"{LIBC}"', [one.pid])) as stream:
        assert one.byte(LIBC, "exit") == BREAKPOINT
        stream.stop()
        read_to_end(stream)

    wait_until(lambda: one.byte(LIBC, "exit") == untouched, "the breakpoint is gone")
    wait_until(lambda: kernel_objects(daemon) == before, "programs and processes are let go")


def test_semaphores_are_up_in_the_named_processes_only(
    ann: Host, program: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    one, another, bens = (waiting(uid, program) for uid in (ANN, ANN, BEN))

    with ann.open(asked(f'usdt:probed:guarded@"{program}"', [one.pid])) as stream:
        counts = [who.byte(program, "guarded_semaphore") for who in (one, another, bens)]
        one.go()
        stream.stop()
        found = events(stream, read_to_end(stream))

    assert counts == [1, 0, 0]
    assert [event["_pid"] for event in found] == [one.pid] * 3


def test_a_thread_stands_for_its_process(
    ann: Host, program: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    one = waiting(ANN, program)
    request = pb.TraceRequest(
        selectors=[f'uretprobe:narrow@"{program}"'], scope=pb.Scope(tids=[one.pid])
    )
    with ann.open(request) as stream:
        one.go()
        stream.stop()
        assert len(events(stream, read_to_end(stream))) == 3


def test_a_library_has_no_x_bit(
    ann: Host, program: Path, folder: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    plain = folder / "plain"
    shutil.copy(program, plain)
    plain.chmod(0o644)
    one = waiting(ANN, program)

    with ann.open(asked(f'uprobe:narrow@"{plain}"', [one.pid])) as stream:
        stream.stop()
        read_to_end(stream)


def test_files_of_others_without_a_process(ann: Host, program: Path) -> None:
    selector = f'uprobe:narrow@"{program}"'
    assert refusal(ann, selector) == pointed(
        f"'{program}' is not yours: the policy allows you to probe it in processes of yours, "
        "which -p PID names",
        selector,
        str(program),
    )


def test_processes_of_others(
    ann: Host, program: Path, anns: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    bens = waiting(BEN, program)
    # Whatever else refuses it, too.
    for path in (program, anns / "program"):
        with pytest.raises(ClientError, match=f"process {bens.pid}"):
            ann.describe([f'uprobe:narrow@"{path}"'], pids=[bens.pid])
        with pytest.raises(ClientError, match=f"process {bens.pid}"):
            ann.open(asked(f'uprobe:narrow@"{path}"', [bens.pid]))


def test_one_foreign_process_among_own_ones(
    ann: Host, program: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    one, bens = waiting(ANN, program), waiting(BEN, program)
    with pytest.raises(ClientError, match=f"process {bens.pid}"):
        ann.open(asked(f'uprobe:narrow@"{program}"', [one.pid, bens.pid]))
    assert bens.byte(LIBC, "exit") != BREAKPOINT


@pytest.mark.parametrize("mode", [0o711, 0o700, 0o4711], ids=oct)
def test_files_that_may_not_be_read(
    ann: Host, program: Path, folder: Path, mode: int, waiting: Callable[[int, Path], Waiting]
) -> None:
    closed = folder / "closed"
    shutil.copy(program, closed)
    closed.chmod(mode)
    selector = f'uprobe:narrow@"{closed}"'
    one = waiting(ANN, program)

    said = pointed(f"you may not read '{closed}': permission denied", selector, str(closed))
    assert refusal(ann, selector) == said
    assert refusal(ann, selector, [one.pid]) == said


def test_what_is_below_a_closed_folder_is_not_told(ann: Host, program: Path, folder: Path) -> None:
    # GIVEN a folder that only root may enter, and a link into it
    folder = Path(tempfile.mkdtemp(dir=folder))
    folder.chmod(0o755)
    inside = folder / "inside"
    inside.mkdir(mode=0o700)
    shutil.copy(program, inside / "there")
    (inside / "way").symlink_to(program)
    (inside / "folder").mkdir()
    (folder / "link").symlink_to(inside / "there")
    (folder / "vain").symlink_to(inside / "missing")

    for name in ("inside/there", "inside/missing", "inside/way", "inside/folder", "inside/a/b",
                 "inside/../link", "link", "vain"):  # fmt: skip
        selector = f'uprobe:narrow@"{folder}/{name}"'
        assert refusal(ann, selector) == pointed(
            f"you may not read '{folder}/{name}': permission denied", selector, f"{folder}/{name}"
        )


def test_who_sees_all_tasks_probes_own_processes(
    daemon: Daemon, program: Path, waiting: Callable[[int, Path], Waiting]
) -> None:
    bens, zoes = waiting(BEN, program), waiting(ZOE, program)
    selector = f'uprobe:narrow@"{program}"'
    said = pointed(
        f"process {bens.pid} is not yours: the policy allows you your own", selector, str(program)
    )

    with connected_as(ZOE, daemon) as zoe:
        assert refusal(zoe, selector, [bens.pid]) == said
        assert refusal(zoe, selector, [zoes.pid, bens.pid]) == said
        with zoe.open(asked(selector, [zoes.pid])) as stream:
            zoes.go()
            stream.stop()
            assert len(events(stream, read_to_end(stream))) == 3


@contextmanager
def serving(folder: Path, config: str) -> Iterator[Daemon]:
    daemon = Daemon(folder, config=config)
    try:
        yield daemon
    finally:
        daemon.stop()


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def test_files_that_cannot_be_run(program: Path, folder: Path) -> None:
    # GIVEN a mount that a daemon that starts now sees, wherever it runs
    place = folder / "noexec"
    place.mkdir()
    own = folder / "later"
    own.mkdir()
    with mounted(place, "noexec,mode=0755"):
        shutil.copy(program, place / "program")
        os.chown(place / "program", ANN, ANN)
        with serving(own, own_rule(ANN)) as daemon, connected_as(ANN, daemon) as ann:
            selector = f'uprobe:narrow@"{place}/program"'
            assert refusal(ann, selector) == pointed(
                f"'{place}/program' is on a file system that is mounted noexec: you cannot run it",
                selector,
                f"{place}/program",
            )


def test_a_rule_without_user_probes(daemon: Daemon, program: Path) -> None:
    with connected_as(NED, daemon) as ned:
        for path in (program, "/root/missing"):
            selector = f'uprobe:narrow@"{path}"'
            assert refusal(ned, selector) == pointed(
                "the policy does not allow you probes of files", selector, str(path)
            )


def test_the_rule_that_decides_about_an_event_decides_about_its_file(
    program: Path, folder: Path
) -> None:
    # GIVEN rights to all files for one function, to own files for others, to none for a third
    own = folder / "rules"
    own.mkdir()
    hidden = own / "hidden"
    shutil.copy(program, hidden)
    hidden.chmod(0o700)
    config = (
        own_rule(ANN, name="named", events=["uprobe:named"], uprobes="all")
        + own_rule(ANN, name="none", events=["uprobe:nothing"], uprobes="none")
        + own_rule(ANN, name="rest", events=["*", "!uprobe:named", "!uprobe:nothing"])
    )
    with serving(own, config) as daemon, connected_as(ANN, daemon) as ann:
        with ann.open(asked(f'uprobe:named@"{hidden}"')) as stream:
            stream.stop()
            read_to_end(stream)
        for target in ("narrow", "n*"):
            selector = f'uprobe:{target}@"{hidden}"'
            assert refusal(ann, selector) == pointed(
                f"you may not read '{hidden}': permission denied", selector, str(hidden)
            )
        selector = f'uprobe:nothing@"{program}"'
        assert refusal(ann, selector) == pointed(
            "the policy does not allow you uprobe:nothing", selector, str(program)
        )


class Swapper:
    """Has what its makers make stand at a path, by chance, without a gap."""

    def __init__(self, path: Path, makers: Sequence[Callable[[Path], object]]) -> None:
        self._path = path
        self._makers = makers
        self._turns = threading.Semaphore(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def go_on(self) -> None:
        """Allow as many more swaps as happen during a call: not so many that it gets no time."""
        self._turns.release(SWAPS)

    def end(self) -> None:
        self._stop.set()
        self.go_on()
        self._thread.join()

    def _run(self) -> None:
        fresh = self._path.with_name(f"{self._path.name}-next")
        chance = random.Random(str(self._path.name))
        while True:
            self._turns.acquire()
            if self._stop.is_set():
                return
            chance.choice(self._makers)(fresh)
            fresh.rename(self._path)


def link_to(target: Path) -> Callable[[Path], object]:
    return lambda place: place.symlink_to(target)


@pytest.fixture
def secret(folder: Path) -> Iterator[Path]:
    """A program with a function `named_in_secret`; only root may enter its folder."""
    closed = folder / "closed-folder"
    closed.mkdir(mode=0o700)
    (closed / "secret.c").write_text("int named_in_secret(void) { return 1; } int main(void) {}")
    subprocess.run(["gcc", "-w", "-o", closed / "program", closed / "secret.c"], check=True)
    yield closed / "program"
    shutil.rmtree(closed)


def told(host: Host, selector: str, session: bool) -> str:
    """The names of the functions that a selector means, or the first line of the refusal."""
    try:
        if not session:
            return " ".join(sorted(schema.name for schema in host.describe([selector])))
        with host.open(asked(selector)) as stream:
            stream.stop()
            read_to_end(stream)
            return " ".join(sorted(schema.name for schema in stream.started.schemas))
    except ClientError as error:
        return str(error).splitlines()[0]


def test_a_path_that_is_swapped_never_leads_to_what_is_closed(
    ann: Host, daemon: Daemon, anns: Path, secret: Path
) -> None:
    # GIVEN a path at which links to a program of Ann's, to a closed one and to a device, and a
    # FIFO follow each other; and one on which the folder is Ann's or the closed one
    targets = [anns / "program", secret, Path("/dev/zero")]
    before = holdings(daemon)
    outcomes: Counter[str] = Counter()
    swappers = [
        Swapper(anns / "file", [*map(link_to, targets), os.mkfifo]),
        Swapper(anns / "way", [link_to(anns), link_to(secret.parent)]),
    ]

    try:
        wait_until(
            lambda: all(os.path.lexists(anns / name) for name in ("file", "way")), "they are"
        )
        for number in range(ROUNDS):
            path = (anns / "file", anns / "way/program")[number % 2]
            for swapper in swappers:
                swapper.go_on()
            outcomes[
                told(ann, f'uprobe:na*@"{path}"', number % 40 < 2).replace(str(path), "PATH")
            ] += 1
    finally:
        for swapper in swappers:
            swapper.end()

    # THEN it was each of them, and nothing is told of the closed one
    denied = "error: you may not read 'PATH': permission denied"
    assert {*outcomes} <= {
        "named narrow",
        denied,
        "error: 'PATH' is a FIFO, not a program or shared library",
        "error: 'PATH' is a device, not a program or shared library",
    }
    assert min(outcomes["named narrow"], outcomes[denied]) > ROUNDS / 20
    wait_until(lambda: holdings(daemon) <= before, "nothing is held")
