"""Whether a user may read or search a file: what the kernel would say, asked without being it.

The daemon may read everything, and cannot become another user. The rule is that of acl(5), as
acl_permission_check() in fs/namei.c and posix_acl_permission() in fs/posix_acl.c have it.
"""

from __future__ import annotations

import errno
import os
import struct

from ptraced.identity import Caller

READ, SEARCH = 4, 1
_ACL = "system.posix_acl_access"
# include/uapi/linux/posix_acl_xattr.h
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_ACL_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32

_Entry = tuple[int, int, int]


def may(caller: Caller, handle: int, wanted: int) -> bool:
    """Whether a file's mode and access control list give a caller all that is `wanted`.

    `handle` may be of O_PATH. Privileges are left out: root is a user like others.
    """
    status = os.fstat(handle)
    # With an empty mask, which is the mode's group part then, the kernel does not look at a list.
    entries = (_access_list(handle) if status.st_mode & 0o070 else []) or [
        (_USER_OBJ, status.st_mode >> 6 & 7, 0),
        (_GROUP_OBJ, status.st_mode >> 3 & 7, 0),
        (_OTHER, status.st_mode & 7, 0),
    ]
    return allows(entries, caller, (status.st_uid, status.st_gid), wanted)


def allows(entries: list[_Entry], caller: Caller, owner: tuple[int, int], wanted: int) -> bool:
    """What entries (tag, permissions, id) of a file of `owner` (uid, gid) say."""
    uid, gid = owner
    if caller.uid == uid:
        return any(tag == _USER_OBJ and _has(bits, wanted) for tag, bits, _ in entries)
    mask = next((bits for tag, bits, _ in entries if tag == _MASK), 7)
    for tag, bits, who in entries:
        if tag == _USER and who == caller.uid:
            return _has(bits & mask, wanted)
    groups = {caller.gid, *caller.gids}
    of_groups = [
        bits
        for tag, bits, who in entries
        if (tag == _GROUP_OBJ and gid in groups) or (tag == _GROUP and who in groups)
    ]
    if of_groups:
        # One entry has to give all of it: they do not add up.
        return any(_has(bits & mask, wanted) for bits in of_groups)
    return any(tag == _OTHER and _has(bits, wanted) for tag, bits, _ in entries)


def _has(bits: int, wanted: int) -> bool:
    return bits & wanted == wanted


def _access_list(handle: int) -> list[_Entry]:
    """The entries of a file's list, none where it has no list; raises PermissionError."""
    try:
        data = os.getxattr(f"/proc/self/fd/{handle}", _ACL)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return []
        raise
    size = len(data) - _VERSION.size
    if size < 0 or size % _ENTRY.size or _VERSION.unpack_from(data)[0] != _ACL_VERSION:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return list(_ENTRY.iter_unpack(data[_VERSION.size :]))
