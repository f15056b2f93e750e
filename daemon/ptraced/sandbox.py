"""Walls around a helper process: capabilities given up, limits, and a seccomp filter.

The filter names the few system calls that a program needs that computes and reads files. All
others fail with ENOSYS, as they would on a kernel that does not have them yet: programs, sockets,
processes, mounts, and whatever is invented later.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import termios
from collections.abc import Iterable, Mapping

from ptraced.privileges import Capability, keep_capabilities

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# include/uapi/linux/prctl.h, seccomp.h, audit.h, bpf_common.h
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
_KILL_PROCESS, _ERRNO, _USER_NOTIF, _ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
# Offsets in struct seccomp_data; of an argument, its lower half (both machines are little-endian).
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
NOTIFICATION_RECEIVE, NOTIFICATION_SEND = 0xC0502100, 0xC0182101

_MACHINES = ("x86_64", "aarch64")
_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h; None: not there.
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "access": (21, None),
    "brk": (12, 214),
    "chdir": (80, 49),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fchdir": (81, 50),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "newfstatat": (262, 79),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "sigaltstack": (131, 132),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "write": (1, 64),
    "writev": (20, 66),
}
_OPENAT, _IOCTL, _BPF, _SECCOMP = (257, 56), (16, 29), (321, 280), (317, 277)
# Of openat(2): what changes a file or makes one. O_TMPFILE has O_WRONLY or O_RDWR beside it.
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_IOCTLS = (termios.TCGETS, NOTIFICATION_RECEIVE, NOTIFICATION_SEND)


def limit(limits: Mapping[int, int]) -> None:
    """Set RLIMIT_* limits, soft and hard; those that are lower already stay. No core dumps."""
    for which, wanted in {resource.RLIMIT_CORE: 0, **limits}.items():
        _, hard = resource.getrlimit(which)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (value, value))


def give_up_privileges(keep: Iterable[Capability] = ()) -> None:
    """Keep no capability but those of `keep` that are held, now and after an execve().

    To be called while this process has one thread: both belong to threads.
    """
    keep_capabilities(keep)
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _last_error("no_new_privs cannot be set")


def confine_thread(*, bpf_is_answered: bool = False) -> int:
    """Put the calling thread behind the filter; needs no_new_privs.

    bpf(2) fails with EPERM. With `bpf_is_answered` it waits for what another thread answers on
    the descriptor that is returned, which is -1 otherwise.
    """
    code = _filter(_USER_NOTIF if bpf_is_answered else _ERRNO | errno.EPERM)
    program = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog
    described = struct.pack("@HP", len(code) // 8, ctypes.addressof(program))
    result: int = _libc.syscall(
        ctypes.c_long(_numbered(_SECCOMP)),
        ctypes.c_uint(_SET_MODE_FILTER),
        ctypes.c_uint(_FLAG_NEW_LISTENER if bpf_is_answered else 0),
        described,
    )
    if result < 0:
        raise _last_error("the kernel takes no seccomp filter")
    return result if bpf_is_answered else -1


def _filter(bpf: int) -> bytes:
    refused = _ERRNO | errno.ENOSYS
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, _AUDIT_ARCHITECTURES[platform.machine()], 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER),
    ]
    for numbers in _ALLOWED.values():
        if numbers[_machine()] is not None:
            code += _on_number(numbers, [_instruction(_RETURN, _ALLOW)])
    code += _on_number(_BPF, [_instruction(_RETURN, bpf)])
    opening = [
        _instruction(_LOAD, _ARGUMENTS + 2 * 8),
        _instruction(_JUMP_SET, _WRITING, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.EACCES),
        _instruction(_RETURN, _ALLOW),
    ]
    code += _on_number(_OPENAT, opening)
    controlling = [_instruction(_LOAD, _ARGUMENTS + 1 * 8)]
    for request in _IOCTLS:
        controlling += _unless_equal(request, [_instruction(_RETURN, _ALLOW)])
    controlling += [_instruction(_RETURN, _ERRNO | errno.ENOTTY)]
    code += _on_number(_IOCTL, controlling)
    return b"".join([*code, _instruction(_RETURN, refused)])


def _on_number(numbers: tuple[int | None, int | None], then: list[bytes]) -> list[bytes]:
    return _unless_equal(_numbered(numbers), then)


def _unless_equal(value: int, then: list[bytes]) -> list[bytes]:
    """Go on behind `then`, which returns, unless what was loaded is equal to a value."""
    return [_instruction(_JUMP_EQUAL, value, 0, len(then)), *then]


def _instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    # struct sock_filter
    return struct.pack("=HBBI", code, true, false, value)


def _machine() -> int:
    return _MACHINES.index(platform.machine())


def _numbered(numbers: tuple[int | None, int | None]) -> int:
    number = numbers[_machine()]
    assert number is not None
    return number


def _last_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
