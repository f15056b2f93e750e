"""The machine's initramfs: busybox, the modules that reach the host's files, `init.sh`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vm.debian_kernel import DebianKernel, VmError, cached

HERE = Path(__file__).parent
BUSYBOX = Path("/bin/busybox")

_MODULES = (
    "crc32c_generic",
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "9p",
    "9pnet_virtio",
    "overlay",
    "squashfs",
)
_APPLETS = ("sh", "mount", "mkdir", "insmod", "cp", "switch_root", "usleep", "reboot")

# Modes of a cpio entry: type and permissions.
_DIRECTORY = 0o040755
_PROGRAM = 0o100755
_LINK = 0o120777


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    mode: int
    data: bytes = b""


def initramfs(
    kernel: DebianKernel,
    cache: Path,
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
) -> bytes:
    """An archive that boots into `command`, run in `directory` with just `environment`."""
    if not BUSYBOX.exists():
        raise VmError("no /bin/busybox: apt-get install busybox-static")
    index = kernel.modules / "modules.dep"
    if not index.exists():
        raise VmError(f"no {index}: apt-get install linux-image-{kernel.release}")
    sources = [index, BUSYBOX, HERE / "init.sh", HERE / "initramfs.py"]
    base = cached(cache, "initramfs", sources, lambda path: _write_base(kernel, path))
    # The kernel unpacks one archive after the other.
    return base.read_bytes() + _archive(
        [
            _Entry("vm/guest.sh", _PROGRAM, (HERE / "guest.sh").read_bytes()),
            _Entry("vm/command", _PROGRAM, _script(command, directory, environment).encode()),
        ]
    )


def _script(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    return "\n".join(
        [
            *(f"export {name}={shlex.quote(value)}" for name, value in environment.items()),
            f"cd {shlex.quote(str(directory))} || exit 125",
            "ulimit -l unlimited",
            "ulimit -n 65536",
            f"exec {shlex.join(command)}",
            "",
        ]
    )


def _write_base(kernel: DebianKernel, target: Path) -> None:
    modules = _in_order(kernel, _MODULES)
    directories = ("bin", "proc", "sys", "dev", "modules", "vm")
    order = "".join(f"{path.name}\n" for path in modules)
    target.write_bytes(
        _archive(
            [
                *(_Entry(name, _DIRECTORY) for name in directories),
                _Entry("init", _PROGRAM, (HERE / "init.sh").read_bytes()),
                _Entry("bin/busybox", _PROGRAM, BUSYBOX.read_bytes()),
                *(_Entry(f"bin/{name}", _LINK, b"busybox") for name in _APPLETS),
                *(_Entry(f"modules/{path.name}", _PROGRAM, path.read_bytes()) for path in modules),
                _Entry("modules/order", _PROGRAM, order.encode()),
            ]
        )
    )


def _in_order(kernel: DebianKernel, names: Iterable[str]) -> list[Path]:
    """Modules and what they need, the needed first; what is built in has no file."""
    needs: dict[str, list[str]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        # modules.dep lists what must be loaded last first.
        needs[file] = [*reversed(needed.split()), file]
    by_name = {Path(file).name.partition(".")[0].replace("-", "_"): file for file in needs}
    wanted = [file for name in names if name in by_name for file in needs[by_name[name]]]
    return [kernel.modules / file for file in dict.fromkeys(wanted)]


def _archive(entries: Sequence[_Entry]) -> bytes:
    """A cpio archive in the form newc (Documentation/driver-api/early-userspace)."""
    archive = bytearray()
    for number, entry in enumerate((*entries, _Entry("TRAILER!!!", 0)), 1):
        name = entry.name.encode() + b"\0"
        # inode, mode, uid, gid, links, time, size, device and rdevice, name size, checksum
        head = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % value for value in head) + name
        archive += bytes(-len(archive) % 4)
        archive += entry.data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
