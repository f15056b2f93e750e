"""A machine runs a command on Debian's kernel, sees the host's files and leaves them alone."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from vm.debian_kernel import DebianKernel, VmError, _numbers, cached
from vm.initramfs import _archive, _Entry, _in_order

RUN = Path(__file__).parent / "run"

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the machine is x86-64")


def test_it_runs_a_command_and_keeps_its_writes(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("the host's")
    script = f"cat {kept}; echo > {kept}; uname -r; pwd; echo '$x' >&2; exit 3"
    done = subprocess.run(
        [RUN, "--", "sh", "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    release = DebianKernel.newest().release
    assert done.stderr == "$x\n"
    assert done.stdout == f"the host's{release}\n{tmp_path}\n"
    assert done.returncode == 3
    assert kept.read_text() == "the host's"


def test_a_command_that_does_not_end_is_ended() -> None:
    done = subprocess.run(
        [RUN, "--timeout", "0.5", "--", "sleep", "infinity"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("error: the machine did not end within 0.5 s")
    assert done.returncode == 125


def test_the_newest_kernel_is_told_by_numbers() -> None:
    names = ["vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-56-amd64", "vmlinuz-5.10.0-60-amd64"]
    assert max(names, key=_numbers) == "vmlinuz-6.1.0-56-amd64"


def test_what_is_made_is_kept_until_its_source_changes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    cache = tmp_path / "cache"
    source.write_text("1")
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text(source.read_text())

    first = cached(cache, "copy", [source], make)
    assert cached(cache, "copy", [source], make) == first
    assert len(made) == 1
    # Another package's file, that is older than the copy.
    source.write_text("2")
    os.utime(source, (1, 1))
    second = cached(cache, "copy", [source], make)
    assert second.read_text() == "2"
    assert list(cache.iterdir()) == [second]


def test_what_could_not_be_made_is_not_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise VmError("no room")

    with pytest.raises(VmError, match="no room"):
        cached(tmp_path / "cache", "copy", [source], fail)
    assert cached(tmp_path / "cache", "copy", [source], Path.touch).read_text() == ""


def test_modules_follow_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DebianKernel, "modules", tmp_path)
    (tmp_path / "modules.dep").write_text(
        "fs/9p.ko: net/9pnet.ko lib/netfs.ko\nnet/9pnet.ko:\nlib/netfs.ko: lib/base.ko\n"
        "net/9pnet-virtio.ko: net/9pnet.ko drivers/virtio.ko\n"
    )
    order = _in_order(DebianKernel("6.1", Path()), ["9p", "9pnet_virtio", "built_in"])
    assert [path.name for path in order] == [
        "netfs.ko",
        "9pnet.ko",
        "9p.ko",
        "virtio.ko",
        "9pnet-virtio.ko",
    ]


def test_an_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    entries = [
        _Entry("dir", 0o040755),
        _Entry("dir/file", 0o100644, b"text"),
        _Entry("l", 0o120777, b"dir"),
    ]
    listed = subprocess.run(
        ["cpio", "-tv", "--quiet"], input=_archive(entries), capture_output=True, check=True
    )
    lines = [line.split() for line in listed.stdout.decode().splitlines()]
    assert [(line[0], line[4], line[8:]) for line in lines] == [
        ("drwxr-xr-x", "0", ["dir"]),
        ("-rw-r--r--", "4", ["dir/file"]),
        ("lrwxrwxrwx", "3", ["l", "->", "dir"]),
    ]
