"""Programs hung on user programs by BPF links: for that CAP_BPF and CAP_PERFMON are enough.

Linux 6.6 has these links (commit 89ae89f53d20). By perf_event_open(2), the older way, newer
kernels want CAP_SYS_ADMIN: a breakpoint inside of an instruction would damage the program
(commit ba677dbe77af, 6.16 and stable releases). Those who call attach() look first.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from ptraced import bpf_maps, syscalls
from ptraced.kernel_answers import remembered

# include/uapi/linux/bpf.h; the attach type has to be known when the program is loaded.
ATTACH_TYPE = 48
_LINK_CREATE = 28
_RETURN = 1
# r0 = 0; exit
_RETURN_ZERO = bytes.fromhex("b700000000000000 9500000000000000")


@remembered
def is_available() -> bool:
    """Whether this kernel has such links: it then finds fault with what is to be probed."""
    program = bpf_maps.load_program(bpf_maps.PROG_KPROBE, "check", _RETURN_ZERO, ATTACH_TYPE)
    try:
        os.close(_link(program, "/", 1, 0, False))
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    finally:
        os.close(program)
    return True


def attach(
    program: int, file: int, offset: int, semaphore: int, returns: bool, pid: int = 0
) -> int:
    """Run `program` at the instruction that lies `offset` bytes from the start of a file.

    With a `pid` only that process has a breakpoint there (from Linux 6.10, and stable releases
    of earlier ones, all its threads hit it: commit 46ba0e49b642); those that it forks, none.

    `file` is an open descriptor, and may be closed afterwards; `semaphore` is the place of a
    USDT probe's count of users in the file, 0 for none. It lasts until the descriptor that is
    returned is closed. The program has to return 0. Raises OSError.
    """
    return _link(program, f"/proc/self/fd/{file}", offset, semaphore, returns, pid)


def _link(program: int, path: str, offset: int, semaphore: int, returns: bool, pid: int = 0) -> int:
    name = ctypes.create_string_buffer(path.encode())
    offsets, semaphores = ctypes.c_uint64(offset), ctypes.c_uint64(semaphore)
    attr = struct.pack(
        "<IIIIQQQQIIIxxxx",
        program,
        0,
        ATTACH_TYPE,
        0,
        ctypes.addressof(name),
        ctypes.addressof(offsets),
        ctypes.addressof(semaphores) if semaphore else 0,
        0,
        1,
        _RETURN if returns else 0,
        pid,
    )
    return syscalls.bpf(_LINK_CREATE, ctypes.create_string_buffer(attr, len(attr)))
