"""Kernel headers are found in order and laid out for BCC, in a directory of the daemon's own."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from ptraced.errors import Unavailable
from ptraced.headers import FoundHeaders, find_headers, locate_headers, prepare_headers

RELEASE = "6.1.0-56-amd64"


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make_whole(directory: Path, arch: str = "x86") -> None:
    """Headers as most distributions ship them: all in one tree."""
    write(directory / "include/linux/kconfig.h")
    write(directory / "include/generated/autoconf.h")
    write(directory / "arch" / arch / "include/asm/page.h")


def make_debian(root: Path, release: str, arch: str = "x86") -> tuple[Path, Path]:
    """Headers as Debian ships them: an architecture's tree and a common one."""
    own = root / f"usr/src/linux-headers-{release}"
    common = root / f"usr/src/linux-headers-{release.rpartition('-')[0]}-common"
    write(own / "Makefile", f"include /usr/src/{common.name}/Makefile\n")
    write(own / "include/generated/autoconf.h", "configured")
    write(own / "arch" / arch / "include/generated/asm/errno.h", "generated")
    write(common / "Makefile", "all:\n")
    write(common / "include/linux/kconfig.h", "common")
    write(common / "arch" / arch / "include/asm/page.h", "page")
    write(common / "arch/sparc/include/asm/page.h", "sparc")
    return own, common


def make_archive(root: Path, members: dict[str, str]) -> None:
    (root / "sys/kernel").mkdir(parents=True)
    with tarfile.open(root / "sys/kernel/kheaders.tar.xz", "w:xz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("include/link.h")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        archive.addfile(link)


def test_running_kernels_headers_come_first_and_are_used_where_they_lie(tmp_path: Path) -> None:
    build = tmp_path / "lib/modules" / RELEASE / "build"
    make_whole(tmp_path / "usr/src/linux-headers-6.1")
    make_whole(tmp_path / "usr/src/linux-headers-9.9")
    build.parent.mkdir(parents=True)
    build.symlink_to(tmp_path / "usr/src/linux-headers-6.1")

    headers = prepare_headers(locate_headers(tmp_path, RELEASE, "x86_64"), tmp_path / "state")

    assert headers.path == tmp_path / "usr/src/linux-headers-6.1"
    assert (headers.release, headers.source, headers.exact) == (RELEASE, "running kernel", True)
    assert not (tmp_path / "state").exists()


def test_debians_two_packages_are_merged(tmp_path: Path) -> None:
    own, common = make_debian(tmp_path, RELEASE)

    headers = prepare_headers(locate_headers(tmp_path, "6.18.0", "x86_64"), tmp_path / "state")

    merged = headers.path
    assert (headers.release, headers.source, headers.exact) == (RELEASE, "newest installed", False)
    assert merged.parent == tmp_path / "state/headers"
    assert merged.stat().st_mode & 0o777 == 0o700
    assert (merged / "include/linux/kconfig.h").resolve() == common / "include/linux/kconfig.h"
    assert (merged / "include/generated/autoconf.h").read_text() == "configured"
    assert (merged / "arch/x86/include/asm/page.h").read_text() == "page"
    assert (merged / "arch/x86/include/generated/asm/errno.h").read_text() == "generated"
    assert (merged / "arch/sparc").is_symlink()
    assert not (own / "include/linux").exists()


def test_a_merged_directory_is_used_again_until_the_packages_change(tmp_path: Path) -> None:
    own, _ = make_debian(tmp_path, RELEASE)
    first = prepare_headers(locate_headers(tmp_path, "6.18.0", "x86_64"), tmp_path / "state")
    made = first.path.stat().st_ino

    again = prepare_headers(locate_headers(tmp_path, "6.18.0", "x86_64"), tmp_path / "state")
    assert (again, again.path.stat().st_ino) == (first, made)

    os.utime(own, ns=(1, 1))
    changed = prepare_headers(locate_headers(tmp_path, "6.18.0", "x86_64"), tmp_path / "state")
    assert changed.path != first.path
    assert list((tmp_path / "state/headers").iterdir()) == [changed.path]


def test_an_incomplete_leftover_is_replaced(tmp_path: Path) -> None:
    make_debian(tmp_path, RELEASE)
    found = locate_headers(tmp_path, "6.18.0", "x86_64")
    path = prepare_headers(found, tmp_path / "state").path
    (path / "include/linux").unlink()

    assert prepare_headers(found, tmp_path / "state").path == path
    assert (path / "include/linux/kconfig.h").is_file()


def test_newest_version_wins_by_number_and_foreign_architectures_are_passed_over(
    tmp_path: Path,
) -> None:
    make_debian(tmp_path, "6.1.0-9-arm64", "arm64")
    make_debian(tmp_path, "6.1.0-10-arm64", "arm64")
    make_debian(tmp_path, "6.1.0-11-amd64")

    assert locate_headers(tmp_path, "6.18.0", "aarch64").release == "6.1.0-10-arm64"


def test_a_tree_without_its_common_package_is_passed_over(tmp_path: Path) -> None:
    _, common = make_debian(tmp_path, "6.2.0-1-amd64")
    make_debian(tmp_path, RELEASE)
    (common / "include/linux/kconfig.h").unlink()

    assert locate_headers(tmp_path, "6.18.0", "x86_64").release == RELEASE


def test_kheaders_go_before_headers_of_another_kernel_and_unpack_safely(tmp_path: Path) -> None:
    make_debian(tmp_path, RELEASE)
    members = {"./include/linux/kconfig.h": "k", "./arch/x86/a.h": "a"}
    make_archive(tmp_path, {**members, "../escaped.h": "x", "/include/abs.h": "x", "etc/x": "x"})

    headers = prepare_headers(locate_headers(tmp_path, "6.18.0", "x86_64"), tmp_path / "state")

    assert (headers.release, headers.source, headers.exact) == ("6.18.0", "kheaders", True)
    files = {str(path.relative_to(headers.path)) for path in headers.path.rglob("*.h")}
    assert files == {"include/linux/kconfig.h", "arch/x86/a.h"}
    assert not list(tmp_path.rglob("escaped.h"))


@pytest.mark.parametrize(
    ("machine", "package"), [("x86_64", "linux-headers-amd64"), ("aarch64", "linux-headers-arm64")]
)
def test_no_headers_names_the_package_to_install(
    tmp_path: Path, machine: str, package: str
) -> None:
    with pytest.raises(Unavailable) as caught:
        locate_headers(tmp_path, "6.18.0", machine)
    assert str(caught.value) == (
        f"error: no kernel headers: {tmp_path}/lib/modules/6.18.0/build is not there or not "
        "complete, /usr/src has none, and the kernel carries none (kheaders); "
        f"`apt-get install {package}` installs some, any version will do"
    )


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    make_debian(tmp_path, RELEASE)
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(Unavailable) as caught:
        prepare_headers(locate_headers(tmp_path, "6.18.0", "x86_64"), state)
    assert str(caught.value) == (
        f"error: {state} can be written by others, who could change the headers that programs "
        "are compiled with; name a directory of the daemon's own by server.state_dir"
    )


def test_a_state_directory_that_cannot_be_made_says_which_setting_helps(tmp_path: Path) -> None:
    make_debian(tmp_path, RELEASE)
    write(tmp_path / "file")
    with pytest.raises(Unavailable) as caught:
        prepare_headers(locate_headers(tmp_path, "6.18.0", "x86_64"), tmp_path / "file")
    assert str(caught.value) == (
        f"error: cannot lay out kernel headers in {tmp_path}/file: Not a directory; "
        "name a directory of the daemon's own by server.state_dir"
    )


def test_a_damaged_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path / "kheaders.tar.xz", "no archive")
    found = FoundHeaders((tmp_path / "kheaders.tar.xz",), "6.18.0", "kheaders")
    with pytest.raises(Unavailable) as caught:
        prepare_headers(found, tmp_path / "state")
    assert str(caught.value) == (
        f"error: cannot lay out kernel headers in {tmp_path}/state: {tmp_path}/kheaders.tar.xz "
        "is damaged: not an lzma file; name a directory of the daemon's own by server.state_dir"
    )
    assert list((tmp_path / "state/headers").iterdir()) == []


def test_this_hosts_headers_have_what_clang_includes_first(tmp_path: Path) -> None:
    headers = find_headers(tmp_path / "state")
    assert (headers.path / "include/linux/kconfig.h").is_file()
    assert (headers.path / "include/generated/autoconf.h").is_file()
