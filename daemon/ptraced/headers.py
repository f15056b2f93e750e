"""Kernel headers for BCC: found where this host has them, laid out as BCC wants them.

BCC takes one directory (BCC_KERNEL_SOURCE) with `include/` and `arch/` in it. Debian splits
a kernel's headers over two packages, so the directory is one of symlinks that merges both.
Headers of another version than the running kernel's do for all that reads no kernel
structures; offsets in those come from BTF.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import platform
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ptraced.errors import Unavailable

HeadersSource = Literal["running kernel", "kheaders", "newest installed"]

# What clang includes before anything else; a tree without it is a leftover.
_MARKER = Path("include/linux/kconfig.h")
_CONFIGURED = Path("include/generated/autoconf.h")
_PARTS = ("include", "arch")
# Directory in arch/ and suffix of Debian's package, by uname's machine.
_ARCHITECTURES = {"x86_64": ("x86", "amd64"), "aarch64": ("arm64", "arm64")}


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers that are ready for use.

    `path` is the value for BCC_KERNEL_SOURCE, `release` the kernel they belong to (as
    uname -r), `exact` says that this is the kernel that runs.
    """

    path: Path
    release: str
    source: HeadersSource
    exact: bool

    @property
    def present(self) -> bool:
        """Whether they are still there."""
        return (self.path / _MARKER).is_file()


@dataclass(frozen=True, slots=True)
class FoundHeaders:
    """Headers as they lie on the host: directories to merge, first ones win, or an archive."""

    places: tuple[Path, ...]
    release: str
    source: HeadersSource

    @property
    def exact(self) -> bool:
        return self.source != "newest installed"


def find_headers(state_dir: Path) -> Headers:
    """Return headers for BCC: the running kernel's, else kheaders, else the newest installed.

    What has to be made is made once, in a directory of mode 0700 below `state_dir`. Raises
    Unavailable where there are none, or where `state_dir` cannot be used.
    """
    return prepare_headers(locate_headers(), state_dir)


def locate_headers(
    root: Path = Path("/"), release: str | None = None, machine: str | None = None
) -> FoundHeaders:
    """Look for headers below `root` without writing anything; raises Unavailable."""
    release = release or platform.release()
    machine = machine or platform.machine()
    arch, package = _ARCHITECTURES.get(machine, (machine, machine))
    build = root / "lib/modules" / release / "build"
    places = _complete(build)
    if places:
        return FoundHeaders(places, release, "running kernel")
    archive = root / "sys/kernel/kheaders.tar.xz"
    if archive.is_file():
        return FoundHeaders((archive,), release, "kheaders")
    for directory in _installed(root, arch):
        places = _complete(directory)
        if places:
            found = directory.name.removeprefix("linux-headers-")
            return FoundHeaders(places, found, "newest installed")
    raise Unavailable(
        f"error: no kernel headers: {build} is not there or not complete, /usr/src has none, "
        "and the kernel carries none (kheaders); "
        f"`apt-get install linux-headers-{package}` installs some, any version will do"
    )


def prepare_headers(found: FoundHeaders, state_dir: Path) -> Headers:
    """Lay out located headers in one directory, below `state_dir` where one has to be made.

    Raises Unavailable where `state_dir` cannot be written, or belongs to someone else.
    """
    if len(found.places) == 1 and found.places[0].is_dir():
        return Headers(found.places[0], found.release, found.source, found.exact)
    fill = _extract if found.source == "kheaders" else _merge
    try:
        path = _made_once(found, _private_directory(state_dir / "headers"), fill)
    except OSError as error:
        raise Unavailable(
            f"error: cannot lay out kernel headers in {state_dir}: {error.strerror or error}; "
            "name a directory of the daemon's own by server.state_dir"
        ) from None
    return Headers(path, found.release, found.source, found.exact)


def _complete(directory: Path) -> tuple[Path, ...]:
    """The directories that make up a kernel's headers, empty where some are missing."""
    if not (directory / _CONFIGURED).is_file():
        return ()
    directory = directory.resolve()
    if (directory / _MARKER).is_file():
        return (directory,)
    common = _debian_common(directory)
    return (directory, common) if common is not None else ()


def _debian_common(directory: Path) -> Path | None:
    # Debian's package of one architecture names its -common one in a Makefile of one line.
    try:
        makefile = (directory / "Makefile").read_text(errors="replace")
    except OSError:
        return None
    named = re.search(r"^include\s+(\S.*)/Makefile\s*$", makefile, re.MULTILINE)
    if named is None:
        return None
    # Beside this one first: a header tree may have been moved as a whole.
    for common in (directory.parent / Path(named[1]).name, directory / named[1]):
        if (common / _MARKER).is_file():
            return common.resolve()
    return None


def _installed(root: Path, arch: str) -> list[Path]:
    """Header directories of this architecture, newest first, plain flavours before others."""
    found = [
        directory
        for place, pattern in (("usr/src", "linux-headers-*"), ("usr/src/kernels", "*"))
        for directory in (root / place).glob(pattern)
        if (directory / "arch" / arch).is_dir()
    ]
    return sorted(found, key=lambda directory: _version(directory.name), reverse=True)


def _version(name: str) -> tuple[list[int], int]:
    return [int(number) for number in re.findall(r"\d+", name)], -len(name)


def _private_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for directory in (path, path.parent):
        status = directory.stat()
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
            raise Unavailable(
                f"error: {directory} can be written by others, who could change the headers "
                "that programs are compiled with; name a directory of the daemon's own by "
                "server.state_dir"
            )
    return path


def _made_once(
    found: FoundHeaders, parent: Path, fill: Callable[[tuple[Path, ...], Path], None]
) -> Path:
    path = parent / f"{found.release}-{_digest(found.places)}"
    # Another user's are closed to the compiler, which has no capability to read them by.
    if (path / _MARKER).is_file() and path.stat().st_uid == os.geteuid():
        return path
    making = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
    try:
        fill(found.places, making)
        _put(making, path)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for old in parent.glob("[!.]*"):
        if old != path:
            shutil.rmtree(old, ignore_errors=True)
    return path


def _put(made: Path, path: Path) -> None:
    try:
        made.rename(path)
    except OSError:
        # Another daemon was faster, or a leftover that is not complete is in the way.
        if not (path / _MARKER).is_file():
            shutil.rmtree(path)
            made.rename(path)


def _digest(places: tuple[Path, ...]) -> str:
    """Changes when the places do: another package version, another kernel."""
    stamps = [f"{place}:{place.stat().st_mtime_ns}:{platform.version()}" for place in places]
    return hashlib.sha256("\n".join(stamps).encode()).hexdigest()[:12]


def _merge(places: tuple[Path, ...], target: Path) -> None:
    for part in _PARTS:
        _merge_directories([place / part for place in places if (place / part).is_dir()], target)


def _merge_directories(sources: list[Path], parent: Path) -> None:
    """Make a directory in `parent` that shows the entries of all sources, first ones first."""
    target = parent / sources[0].name
    if len(sources) == 1 or not sources[0].is_dir():
        target.symlink_to(sources[0])
        return
    target.mkdir(mode=0o700)
    entries: dict[str, list[Path]] = {}
    for source in sources:
        for entry in source.iterdir():
            entries.setdefault(entry.name, []).append(entry)
    for same in entries.values():
        directories = [entry for entry in same if entry.is_dir()]
        _merge_directories(directories if same[0].is_dir() else same[:1], target)


def _extract(places: tuple[Path, ...], target: Path) -> None:
    try:
        with tarfile.open(places[0], "r:xz") as archive:
            _extract_members(archive, target)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise OSError(f"{places[0]} is damaged: {error}") from None


def _extract_members(archive: tarfile.TarFile, target: Path) -> None:
    # Member by member: tarfile's own safety filters came after Python 3.11.2.
    for member in archive:
        path = Path(os.path.normpath(member.name))
        if not member.isreg() or path.is_absolute() or path.parts[0] not in _PARTS:
            continue
        (target / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = archive.extractfile(member)
        if content is not None:
            with content, (target / path).open("wb") as file:
                shutil.copyfileobj(content, file)
