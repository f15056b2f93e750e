"""What a user's own tasks are told by: from BTF, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptraced import own_scope
from ptraced.errors import Unavailable
from ptraced.own_scope import own_holes

# What kernels of all kinds have in common.
COMMON = {
    ("task_struct", "cred"): 1736,
    ("task_struct", "real_cred"): 1728,
    ("task_struct", "mm"): 1136,
    ("task_struct", "flags"): 44,
    ("task_struct", "se"): 256,
    ("task_struct", "thread_info"): 0,
    ("cred", "uid"): 8,
    ("cred", "suid"): 16,
    ("cred", "euid"): 24,
    ("cred", "fsuid"): 32,
    ("cred", "cap_permitted"): 48,
    ("cred", "user_ns"): 136,
    ("user_namespace", "level"): 232,
    ("mm_struct", "flags"): 1272,
    ("sched_entity", "cfs_rq"): 40,
    ("cfs_rq", "rq"): 312,
    ("runqueues",): 5000,
}
DEBIAN_12 = {("__preempt_count",): 1000, ("current_task",): 992}
HOT = {("pcpu_hot",): 1000, ("pcpu_hot", "current_task"): 0, ("pcpu_hot", "preempt_count"): 8}
ARM = {("thread_info", "preempt_count"): 24}
REAL_TIME = {**DEBIAN_12, ("task_struct", "softirq_disable_cnt"): 2000}


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, ...], int]]:
    """A kernel whose BTF has what a test puts in here, and no more."""
    known = dict(COMMON)
    for ask in ("member_offset", "per_cpu_offset"):
        monkeypatch.setattr(own_scope.btf, ask, lambda *names: known.get(names))
    own_scope._kernel_holes.cache_clear()
    yield known
    own_scope._kernel_holes.cache_clear()


Kernel = dict[tuple[str, ...], int]


@pytest.mark.parametrize("more", [DEBIAN_12, HOT, REAL_TIME], ids=["6.1", "6.2", "RT"])
def test_x86_counts_by_cpu_from_where_its_run_queue_is(kernel: Kernel, more: Kernel) -> None:
    kernel.update(more)

    holes = own_holes()

    place = {name: holes[name] for name in ("PER_CPU", "COUNT", "AT_WORK", "CFS_RQ", "RQ")}
    count = 1000 if more is not HOT else 1008
    at_work = 992 if more is not HOT else 1000
    assert place == {
        "PER_CPU": 1,
        "COUNT": count - 5000,
        "AT_WORK": at_work - 5000,
        "CFS_RQ": 296,
        "RQ": 312,
    }
    assert (holes["CRED_UID"], holes["CRED_FSUID"], holes["MM_FLAGS"]) == (8, 32, 1272)


def test_others_count_in_the_task(kernel: Kernel) -> None:
    kernel.update(ARM)

    holes = own_holes()

    assert (holes["PER_CPU"], holes["COUNT"]) == (0, 24)


def test_a_real_time_kernel_counts_softirqs_by_task(kernel: Kernel) -> None:
    kernel.update(DEBIAN_12)
    assert (own_holes()["IS_RT"], own_holes()["TASK_SOFTIRQ"]) == (0, 0)
    own_scope._kernel_holes.cache_clear()
    kernel.update(REAL_TIME)

    assert (own_holes()["IS_RT"], own_holes()["TASK_SOFTIRQ"]) == (1, 2000)


NEEDED = sorted((COMMON.keys() | DEBIAN_12.keys()) - {("task_struct", "thread_info")})


@pytest.mark.parametrize("missing", NEEDED, ids="-".join)
def test_what_the_kernel_does_not_tell_is_not_guessed(
    kernel: Kernel, missing: tuple[str, ...]
) -> None:
    kernel.update(DEBIAN_12)
    del kernel[missing]
    what = f"{missing[1]} in struct {missing[0]}" if len(missing) > 1 else f"variable {missing[0]}"

    with pytest.raises(Unavailable) as caught:
        own_holes()

    assert str(caught.value) == (
        f"error: the kernel's BTF has no {what}, by which a user's own tasks are told; "
        "on this kernel a policy can only allow all tasks"
    )


@pytest.mark.parametrize(
    "uids", ["0 100000 65536", "0 0 1000\n1000 5000 4294966295", "0 0 65536", ""]
)
def test_in_a_user_namespace_nobody_has_own_tasks(
    kernel: Kernel, uids: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.update(DEBIAN_12)
    uid_map = tmp_path / "uid_map"
    uid_map.write_text(uids)
    monkeypatch.setattr(own_scope, "_UID_MAP", uid_map)

    with pytest.raises(Unavailable, match=r"^error: ptraced runs in a user namespace"):
        own_holes()
