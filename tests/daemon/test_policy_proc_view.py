"""Whether /proc shows a caller the tasks of others: its mount options, and pid namespaces."""

from __future__ import annotations

import grp
from pathlib import Path

import pytest

from ptraced.identity import Caller, Via
from ptraced.policy.proc_view import shows_others

ANN = Caller(1000, 1000, 7)
MOUNTS = """\
23 29 0:22 / /sys rw,nosuid - sysfs sysfs rw
24 29 0:23 / /proc rw,nosuid shared:13 - proc proc rw{options}
25 24 0:24 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw,fd=29
"""


def proc(root: Path, own: str | None = "", first: str | None = "", pids: str = "77") -> Path:
    """A /proc with the mount options of the daemon's and the first process's, and of process 7."""
    for name, options in (("self", own), ("1", first)):
        (root / name).mkdir()
        if options is not None:
            (root / name / "mountinfo").write_text(MOUNTS.format(options=options))
    (root / "7").mkdir()
    (root / "7" / "status").write_text(f"Name:\tsh\nNStgid:\t{pids}\nNSpid:\t{pids}\n")
    return root


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("", True),
        (",hidepid=0", True),
        (",hidepid=off", True),
        (",hidepid=1", False),
        (",hidepid=noaccess", False),
        (",hidepid=invisible,gid=4", False),
        (",gid=1000,hidepid=invisible", True),
        # Which knows no group.
        (",gid=1000,hidepid=ptraceable", False),
        (",hidepid=some_day", False),
    ],
)
def test_hidepid_hides_others(tmp_path: Path, options: str, shown: bool) -> None:
    assert shows_others(ANN, proc(tmp_path, options)) == shown


def test_root_sees_all(tmp_path: Path) -> None:
    assert shows_others(Caller(0, 0, 7), proc(tmp_path, ",hidepid=2"))


def test_groups_of_the_caller_count(tmp_path: Path) -> None:
    group = grp.getgrall()[-1]
    caller = Caller(1000, 999_999, 7, groups=frozenset({group.gr_name}))

    assert shows_others(caller, proc(tmp_path, f",hidepid=2,gid={group.gr_gid}"))


def test_the_hosts_proc_counts_as_the_daemons_own(tmp_path: Path) -> None:
    assert not shows_others(ANN, proc(tmp_path, "", ",hidepid=2"))


def test_the_hosts_may_be_unreadable(tmp_path: Path) -> None:
    assert shows_others(ANN, proc(tmp_path, "", None))


def test_what_cannot_be_found_out_is_hidden(tmp_path: Path) -> None:
    assert not shows_others(ANN, proc(tmp_path, None, None))


def test_where_proc_is_not_mounted_others_are_hidden(tmp_path: Path) -> None:
    root = proc(tmp_path)
    (root / "self" / "mountinfo").write_text("23 29 0:22 / /sys rw - sysfs sysfs rw\n")

    assert not shows_others(ANN, root)


@pytest.mark.parametrize(
    ("pid", "pids", "shown"),
    [(7, "77", True), (7, "77\t3", False), (8, "77", False), (0, "77", False)],
    ids=["the daemon's pid namespace", "one below", "gone", "one beside"],
)
def test_whose_pids_are_others_sees_none_of_the_hosts(
    tmp_path: Path, pid: int, pids: str, shown: bool
) -> None:
    assert shows_others(Caller(1000, 1000, pid), proc(tmp_path, pids=pids)) == shown


def test_to_remote_callers_the_hosts_proc_counts(tmp_path: Path) -> None:
    remote = Caller(1000, 1000, via=Via.TLS)

    assert shows_others(remote, proc(tmp_path))
