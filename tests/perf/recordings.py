"""The recordings that tests share, made by real perf: a table, and who makes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
# Where perf's own scripts and modules are installed.
PERF_EXEC_PATH: Final = Path("/usr/lib/perf-core")
SHIPPED: Final = PERF_EXEC_PATH / "scripts/python"
# Seconds that no recording takes.
TIMEOUT: Final = 60.0
# The group of the uprobes that recordings need: other runs of the tests have others.
PROBES: Final = f"peers{os.getpid()}"


@dataclass(frozen=True)
class Wanted:
    """A recording: options of `perf record`, and what the recorded program does.

    `workload` are arguments of workload.c's program or, with `tour`, unused: the program is
    tour.py. `probes` are uprobes in the program, as `perf probe` takes them. `stat` says that
    it is `perf stat record`'s, `pipe` that it was written to a pipe.
    """

    options: Sequence[str]
    workload: Sequence[str] = ()
    probes: Sequence[str] = ()
    tour: bool = False
    stat: bool = False
    pipe: bool = False


# Tracepoints of as many systems as a process can reach from its own context, of events that
# are not too frequent. Without fib:fib_table_lookup, which may leave in gw6 what the ring had
# there: perf dies of text that is no UTF-8.
SYSTEMS: Final = """
    alarmtimer:alarmtimer_start block:block_rq_issue block:block_rq_complete block:block_bio_queue
    cgroup:cgroup_mkdir cgroup:cgroup_rmdir compaction:mm_compaction_begin
    compaction:mm_compaction_end compaction:mm_compaction_migratepages
    compaction:mm_compaction_isolate_freepages compaction:mm_compaction_isolate_migratepages
    ext4:ext4_sync_file_enter ext4:ext4_da_write_begin ext4:ext4_unlink_enter
    ext4:ext4_mark_inode_dirty ext4:ext4_free_inode
    filelock:locks_get_lock_context filelock:flock_lock_inode
    filemap:mm_filemap_add_to_page_cache filemap:mm_filemap_delete_from_page_cache
    irq:softirq_entry irq:softirq_exit irq:softirq_raise irq:irq_handler_entry
    irq:irq_handler_exit irq_vectors:local_timer_entry irq_vectors:reschedule_entry
    jbd2:jbd2_handle_start kmem:kmalloc kmem:kfree kmem:mm_page_alloc maple_tree:ma_write
    migrate:mm_migrate_pages mmap:vm_unmapped_area mmap:exit_mmap
    mmap_lock:mmap_lock_start_locking napi:napi_poll net:netif_receive_skb net:netif_rx
    net:net_dev_queue net:net_dev_xmit oom:oom_score_adj_update percpu:percpu_alloc_percpu
    raw_syscalls:sys_enter raw_syscalls:sys_exit rcu:rcu_utilization rseq:rseq_update
    sched:sched_switch sched:sched_wakeup sched:sched_wakeup_new sched:sched_migrate_task
    sched:sched_process_fork sched:sched_process_exec sched:sched_process_exit
    sched:sched_waking sched:sched_stat_runtime signal:signal_generate signal:signal_deliver
    skb:kfree_skb skb:consume_skb skb:skb_copy_datagram_iovec sock:inet_sock_set_state
    sock:sk_data_ready syscalls:sys_enter_futex syscalls:sys_exit_futex
    syscalls:sys_enter_openat syscalls:sys_exit_openat task:task_newtask task:task_rename
    tcp:tcp_probe tcp:tcp_rcv_space_adjust tcp:tcp_destroy_sock timer:timer_start
    timer:hrtimer_start timer:hrtimer_expire_entry timer:itimer_state tlb:tlb_flush
    vmalloc:alloc_vmap_area workqueue:workqueue_queue_work workqueue:workqueue_execute_start
    writeback:writeback_dirty_folio writeback:writeback_mark_inode_dirty
    x86_fpu:x86_fpu_regs_activated
"""


def _renamed(name: str, config: int = 0) -> tuple[str, str]:
    """Return options for a software event under the name of another."""
    return "-e", f"software/config={config},name={name}/"


_SPIN: Final = ("spin", "40")
_MIXED: Final = ("spin", "30", "touch", "500", "children", "4")

# By name, as tests ask for them.
RECORDINGS: Final[dict[str, Wanted]] = {
    # Tracepoints of one process and its children.
    "syscalls": Wanted(
        ("-e", "raw_syscalls:*", "-e", "sched:sched_switch,sched:sched_process_*"),
        ("calls", "2000", "children", "6"),
    ),
    # A few of these, for what takes no more.
    "few": Wanted(
        ("-e", "raw_syscalls:*", "-e", "sched:sched_switch,sched:sched_process_*"),
        ("calls", "20", "children", "2"),
    ),
    "systems": Wanted(("-e", ",".join(SYSTEMS.split())), tour=True),
    # Fields that perf's scripts do not know of yet are not in these.
    "plain-net": Wanted(
        (
            "-e",
            "irq:softirq_*,irq:irq_handler_*,napi:napi_poll,net:netif_receive_skb,net:netif_rx",
            "-e",
            "net:net_dev_queue,net:net_dev_xmit,skb:skb_copy_datagram_iovec",
        ),
        tour=True,
    ),
    # Stacks of user and kernel code.
    "stacks": Wanted(
        ("-e", "cpu-clock", "-F", "1000", "-g"),
        ("spin", "60", "touch", "3000", "children", "10"),
    ),
    "tracepoint-stacks": Wanted(
        ("-e", "sched:sched_process_*,syscalls:sys_enter_wait4", "--call-graph", "fp"),
        ("children", "6"),
    ),
    # Stacks as they were, for whoever reads them to walk.
    "unwound": Wanted(
        ("-e", "cpu-clock", "-F", "500", "--call-graph", "dwarf,4096"), ("spin", "60")
    ),
    "faults": Wanted(("-e", "page-faults", "-d", "-c", "1"), ("touch", "200", "children", "2")),
    "fault-stacks": Wanted(("-e", "page-faults", "-d", "-c", "1", "-g"), ("touch", "100")),
    "physical": Wanted(("-e", "minor-faults", "-d", "--phys-data", "-c", "1"), ("touch", "200")),
    "page-sizes": Wanted(
        ("-e", "page-faults", "-d", "-c", "1", "--data-page-size", "--code-page-size"),
        ("touch", "40"),
    ),
    "switches": Wanted(("-e", "cpu-clock", "--switch-events"), _MIXED),
    "system-wide": Wanted(("-a", "-e", "cpu-clock", "--switch-events"), ("spin", "20")),
    "groups": Wanted(("-e", "{cpu-clock,page-faults}:S"), ("spin", "30", "touch", "500")),
    "renamed": Wanted(
        (*_renamed("cycles"), *_renamed("instructions", 1), *_renamed("branches")), _MIXED
    ),
    "registers": Wanted(
        ("-e", "cpu-clock", "--intr-regs=AX,BX,IP,SP", "--user-regs=AX,CX,R10"), _SPIN
    ),
    "options": Wanted(
        (
            *("-e", "cpu-clock", "--all-cgroups", "--namespaces", "--buildid-mmap"),
            *("-W", "--transaction", "--clockid", "monotonic", "--bpf-event"),
        ),
        _MIXED,
    ),
    "reads": Wanted(("-s", "-e", "cpu-clock"), _MIXED),
    "sparse": Wanted(("--no-timestamp", "-e", "cpu-clock"), _MIXED),
    "unsynthesized": Wanted(("--synth=no", "-e", "cpu-clock", "-D", "5"), _SPIN),
    "compressed": Wanted(("-z", "-e", "raw_syscalls:*"), ("calls", "2000")),
    "piped": Wanted(("-e", "raw_syscalls:*", "-e", "cpu-clock"), ("calls", "500"), pipe=True),
    "futexes": Wanted(("-e", "syscalls:sys_*_futex"), ("futexes", "30")),
    # Not sched_switch: where events are missing, sched-migration fails at its own message.
    "wakeups": Wanted(
        ("-a", "-e", "sched:sched_wakeup,sched:sched_wakeup_new,sched:sched_migrate_task"),
        ("children", "5", "futexes", "10"),
    ),
    "software": Wanted(
        ("-c", "1", "-a", "-e", "cpu-migrations,minor-faults,major-faults,context-switches,dummy"),
        ("children", "5"),
    ),
    "all-options": Wanted(
        (
            *("-e", "cpu-clock", "-d", "-P", "-T", "-R", "--phys-data", "--data-page-size"),
            *("--code-page-size", "-W", "--transaction", "--intr-regs", "--user-regs", "-g"),
        ),
        _MIXED,
    ),
    # More than a buffer of two pages takes.
    "losses": Wanted(("-m", "1", "-e", "raw_syscalls:*"), ("calls", "3000")),
    "uprobes": Wanted(
        ("-e", f"{PROBES}:*", "-g"),
        ("spin", "20"),
        probes=("outer=outermost rounds:s32", "back=middle%return $retval:u32"),
    ),
    "stat": Wanted(
        ("-I", "20", *_renamed("cycles"), *_renamed("instructions", 2), "-e", "context-switches"),
        ("spin", "60", "touch", "100"),
        stat=True,
    ),
    "stat-of-cpus": Wanted(
        ("-A", "-a", *_renamed("cycles"), *_renamed("instructions", 2)),
        ("spin", "20", "touch", "100"),
        stat=True,
    ),
}


def perf() -> str:
    """Return the path of perf, which deploy/bootstrap installs; fail where it is missing."""
    path = shutil.which("perf")
    assert path, "perf is missing: deploy/bootstrap installs linux-perf"
    return path


def clean_environment(**more: str) -> dict[str, str]:
    """Return an environment in which perf reads no settings of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "PERF_CONFIG": "/dev/null", "PAGER": "cat", **more}


class Recorder:
    """Makes each recording once, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._workload: Path | None = None

    @property
    def workload(self) -> Path:
        """The compiled program of workload.c."""
        if self._workload is None:
            self._workload = self.folder / "workload"
            source = HERE / "workload.c"
            command = ["gcc", "-g", "-O1", "-fno-omit-frame-pointer", "-fno-inline"]
            subprocess.run([*command, "-o", self._workload, source], check=True)
        return self._workload

    def __call__(self, name: str) -> Path:
        """Return the path of a recording of RECORDINGS, which is made where it is not there."""
        path = self.folder / f"{name}.data"
        if not path.exists():
            self._make(RECORDINGS[name], path)
        return path

    def _make(self, wanted: Wanted, path: Path) -> None:
        for probe in wanted.probes:
            self._run("probe", "-q", "-x", str(self.workload), "-a", f"{PROBES}:{probe}")
        try:
            verb = ("stat", "record") if wanted.stat else ("record", "-q", "-N", "--no-bpf-event")
            output = "-" if wanted.pipe else str(path)
            command = (*verb, "-o", output, *wanted.options, "--", *self._program(wanted))
            done = self._run(*command)
        finally:
            if wanted.probes:
                self._run("probe", "-q", "-d", f"{PROBES}:*")
        if wanted.pipe:
            path.write_bytes(done.stdout)
        assert path.exists(), f"perf record made nothing: {done.stderr.decode()}"

    def _program(self, wanted: Wanted) -> Sequence[str]:
        if not wanted.tour:
            return (str(self.workload), *wanted.workload)
        place = self.folder / "tour"
        place.mkdir(exist_ok=True)
        return (sys.executable, str(HERE / "tour.py"), str(place))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [perf(), *arguments],
            cwd=self.folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
        )
