"""Debian's kernel as the machine boots it: image, modules, headers."""

from __future__ import annotations

import hashlib
import lzma
import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# Offsets in a bzImage (Documentation/arch/x86/boot.rst): the number of sectors of the setup
# code, and where behind it the compressed kernel lies.
_SETUP_SECTORS = 0x1F1
_PAYLOAD = 0x248
_XZ = b"\xfd7zXZ\0"


class VmError(Exception):
    """Why there is no machine, and what to do about it."""


@dataclass(frozen=True, slots=True)
class DebianKernel:
    """An installed kernel of Debian's."""

    release: str
    image: Path

    @classmethod
    def newest(cls) -> DebianKernel:
        """The newest that is installed; raises VmError where none is."""
        images = Path("/boot").glob("vmlinuz-*-amd64")
        found = sorted(images, key=lambda image: _numbers(image.name))
        if not found:
            raise VmError("no Debian kernel in /boot: apt-get install linux-image-amd64")
        return cls(found[-1].name.removeprefix("vmlinuz-"), found[-1])

    @property
    def modules(self) -> Path:
        return Path("/lib/modules") / self.release


def boot_image(kernel: DebianKernel, cache: Path) -> Path:
    """The uncompressed kernel: emulated, unpacking itself would take it 3 s."""
    return cached(cache, "vmlinux", [kernel.image], lambda path: _unpack(kernel.image, path))


def headers_image(cache: Path) -> Path:
    """A squashfs of all kernel headers that are installed; raises VmError without any."""
    directories = sorted(Path("/usr/src").glob("linux-headers-*"))
    if not directories:
        raise VmError("no kernel headers in /usr/src: apt-get install linux-headers-amd64")
    # -no...: not compressed, the machine would have to unpack it.
    options = ["-noI", "-noD", "-noF", "-noX", "-quiet", "-no-progress"]

    def make(path: Path) -> None:
        subprocess.run(
            ["mksquashfs", *directories, path, *options], check=True, stdout=subprocess.DEVNULL
        )

    return cached(cache, "headers", directories, make)


def cached(cache: Path, name: str, sources: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """A file that `make` made of `sources`, made again when one of them was replaced."""
    stats = [(str(path), path.stat()) for path in sources]
    # A package brings times along that may be older than what was made of its predecessor.
    key = repr([(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats])
    target = cache / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob(f"{name}-*"):
            old.unlink(missing_ok=True)
        unfinished = target.with_name(f"unfinished-{target.name}")
        unfinished.unlink(missing_ok=True)
        make(unfinished)
        unfinished.rename(target)
    return target


def _unpack(image: Path, target: Path) -> None:
    data = image.read_bytes()
    start = (data[_SETUP_SECTORS] + 1) * 512
    offset, size = struct.unpack_from("<II", data, _PAYLOAD)
    payload = data[start + offset : start + offset + size]
    if not payload.startswith(_XZ):
        raise VmError(f"{image} is not compressed with xz, as Debian 12's kernels are")
    # Behind the stream stands the size of what is in it.
    target.write_bytes(lzma.LZMADecompressor().decompress(payload))


def _numbers(name: str) -> list[int]:
    return [int(part) for part in name.replace("-", ".").split(".") if part.isdigit()]
