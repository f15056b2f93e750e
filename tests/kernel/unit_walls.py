"""Runs a command behind the walls that a systemd unit describes, as far as they need no systemd.

unit_walls.py NUMBERS COMMAND...: NUMBERS are the system calls that succeed, as a JSON list.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import sys

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_SECCOMP, PR_SET_MDWE = 22, 65
NEEDS_NO_MDWE = errno.EINVAL


def instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)


def seccomp_filter(numbers: list[int], socket: int) -> bytes:
    """SystemCallFilter= and RestrictAddressFamilies=AF_UNIX."""
    code = instruction(LOAD, 0)
    code += instruction(JUMP_EQUAL, socket, 0, 4) + instruction(LOAD, 16)
    code += instruction(JUMP_EQUAL, 1, 1, 0) + instruction(RETURN, ERRNO | errno.EAFNOSUPPORT)
    code += instruction(RETURN, ALLOW)
    for number in numbers:
        code += instruction(JUMP_EQUAL, number, 0, 1) + instruction(RETURN, ALLOW)
    return code + instruction(RETURN, ERRNO | errno.EPERM)


def main() -> None:
    walls = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    # MemoryDenyWriteExecute=, since kernel 6.3; before, systemd does it by a filter.
    if libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) and ctypes.get_errno() != NEEDS_NO_MDWE:
        raise OSError(ctypes.get_errno(), "PR_SET_MDWE")
    code = ctypes.create_string_buffer(seccomp_filter(walls["allowed"], walls["socket"]))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(code))
    if libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
