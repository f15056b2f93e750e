"""Build ids of files on this host, as far as its user may read them."""

from __future__ import annotations

import contextlib
import os


class LocalFiles:
    """Finds build ids; each file is looked at once."""

    def __init__(self) -> None:
        self._seen: set[tuple[bytes, int, int]] = set()

    def build_id(self, path: bytes, device: int, inode: int) -> bytes:
        """Return the build id of a file, the first time that it is asked for.

        b"" where it has none, cannot be read, or is another file than the one with this inode.
        """
        from ptrace_elf.elf import Elf, ElfError, open_regular

        key = (path, device, inode)
        if key in self._seen or not path.startswith(b"/"):
            return b""
        self._seen.add(key)
        try:
            file = open_regular(os.fsdecode(path))
        except (OSError, ValueError):
            return b""
        with contextlib.closing(file), contextlib.suppress(OSError, ElfError):
            status = os.fstat(file.fd)
            if (status.st_dev, status.st_ino) == (device, inode):
                return Elf(file).build_id() or b""
        return b""
