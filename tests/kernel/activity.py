"""Makes the kernel do a little of everything: a workload for tests of tracepoints.

Run as `python activity.py DIRECTORY`; it leaves nothing behind and takes part of a second.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path


def use_files(directory: Path) -> None:
    path = directory / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.write(descriptor, b"x" * 20000)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(descriptor, 20000, 0)
    os.ftruncate(descriptor, 100)
    os.close(descriptor)
    path.rename(directory / "renamed")
    os.link(directory / "renamed", directory / "linked")
    os.symlink("renamed", directory / "symbolic")
    (directory / "made").mkdir()
    (directory / "made").rmdir()
    for name in ("renamed", "linked", "symbolic"):
        (directory / name).unlink()


def use_memory() -> None:
    area = mmap.mmap(-1, 1 << 20)
    for place in range(0, 1 << 20, 4096):
        area[place] = 1
    area.madvise(mmap.MADV_DONTNEED)
    area.close()


def use_processes() -> None:
    subprocess.run(["/bin/true"], check=True)
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    os.sched_setaffinity(child, {min(os.sched_getaffinity(0))})
    os.setpriority(os.PRIO_PROCESS, child, 5)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    Path("/proc/self/comm").write_text("renamed task")


def use_threads() -> None:
    lock = threading.Lock()

    def work() -> None:
        for _ in range(20):
            with lock:
                time.sleep(0.0005)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def use_signals() -> None:
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.002)
    signal.pause()


def use_network() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((address, 0), family=family) as server:
            client = socket.create_connection(server.getsockname()[:2])
            peer, _ = server.accept()
            client.sendall(b"x" * 5000)
            peer.recv(5000)
            peer.close()
            client.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.sendto(b"hello", receiver.getsockname())
        receiver.recv(10)
    left, right = socket.socketpair()
    left.send(b"hello")
    right.recv(10)
    left.close()
    right.close()


def main() -> None:
    directory = Path(sys.argv[1])
    use_files(directory)
    use_memory()
    use_processes()
    use_threads()
    use_signals()
    use_network()


if __name__ == "__main__":
    main()
