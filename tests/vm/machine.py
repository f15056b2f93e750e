"""A virtual machine that runs one command and is gone: qemu, emulating two CPUs.

It sees the host's files and writes into its own memory. It has Debian's kernel, no network but
lo, no hardware counters, and is 4 to 10 times as slow as the host.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from vm.debian_kernel import DebianKernel, VmError, boot_image, headers_image
from vm.initramfs import initramfs

PROJECT = Path(__file__).resolve().parent.parent.parent
CACHE = PROJECT / ".cache/vm"
QEMU = "qemu-system-x86_64"

# Programs that the machine is made of, and the packages they come from.
_PROGRAMS = {QEMU: "qemu-system-x86", "mksquashfs": "squashfs-tools"}

_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}

# Most of these spare work that is slow when emulated. `panic` and `reboot` end qemu.
_KERNEL_COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 reboot=t rdinit=/init random.trust_cpu=1 mitigations=off "
    "norandmaps tsc=reliable lpj=4000000 no_timer_check cryptomgr.notests lsm= audit=0 "
    "rcupdate.rcu_expedited=1"
)
_MACHINE = (
    # It ends with its starter, even if that is killed.
    *("setpriv", "--pdeathsig", "KILL", QEMU),
    *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-nic", "none"),
    *("-machine", "pc,hpet=off,vmport=off,smm=off", "-accel", "tcg,thread=multi"),
    # Five-level page tables and wide vectors cost an emulator more than they give.
    *("-cpu", "max,-la57,-avx,-avx2,-erms", "-smp", "2", "-m", "4G"),
    *("-device", "virtio-serial-pci,max_ports=8"),
)


class Machine:
    """A machine that boots into a command; leaving the context ends it.

    `outputs` maps names of ports to descriptors for writing: "stdout" and "stderr" carry the
    command's output, what the command writes to /run/vm/ports/NAME leaves by another. They may
    be closed after construction. Raises VmError where something to build it from is missing.
    """

    def __init__(
        self,
        command: Sequence[str],
        outputs: Mapping[str, int],
        *,
        directory: Path = PROJECT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        for program, package in _PROGRAMS.items():
            if shutil.which(program) is None:
                raise VmError(f"no {program}: apt-get install {package}")
        self.kernel = DebianKernel.newest()
        image = boot_image(self.kernel, CACHE)
        headers = headers_image(CACHE)
        archive = initramfs(
            self.kernel, CACHE, command, directory, {**_ENVIRONMENT, **(environment or {})}
        )
        self._files = tempfile.TemporaryDirectory(prefix="vm.")
        self._directory = Path(self._files.name)
        (self._directory / "initramfs").write_bytes(archive)
        self._process = subprocess.Popen(
            [*_MACHINE, *self._boot(image), *_disks(headers), *self._ports(outputs)],
            stdin=subprocess.DEVNULL,
            pass_fds=tuple(outputs.values()),
        )

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._files.cleanup()

    def wait(self, timeout: float) -> int:
        """Wait for the command's end, and return its exit status.

        Raises VmError with the last lines of the console where the machine went down without
        one, or did not end within `timeout` seconds.
        """
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise VmError(f"the machine did not end within {timeout:g} s{self._said()}") from None
        status = (self._directory / "status").read_text()
        if not status:
            raise VmError(f"the machine went down before its command ended{self._said()}")
        return int(status)

    def kill(self) -> None:
        """Switch it off. Its ports report their end."""
        self._process.kill()

    def _boot(self, image: Path) -> list[str]:
        return [
            *("-kernel", str(image), "-initrd", f"{self._directory}/initramfs"),
            *("-append", _KERNEL_COMMAND_LINE, "-serial", f"file:{self._directory}/console"),
        ]

    def _ports(self, outputs: Mapping[str, int]) -> list[str]:
        paths = {name: f"/proc/self/fd/{fd}" for name, fd in outputs.items()}
        paths["status"] = f"{self._directory}/status"
        return [
            word
            for name, path in paths.items()
            for word in (
                *("-chardev", f"file,id={name},path={path}"),
                *("-device", f"virtserialport,chardev={name},name={name}"),
            )
        ]

    def _said(self) -> str:
        console = self._directory / "console"
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        return "; its console:\n" + "\n".join(lines[-60:]) if lines else ""


def _disks(headers: Path) -> list[str]:
    share = "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"
    return [
        *("-fsdev", share, "-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
        *("-drive", f"file={headers},format=raw,if=none,id=headers,readonly=on"),
        *("-device", "virtio-blk-pci,drive=headers"),
    ]
