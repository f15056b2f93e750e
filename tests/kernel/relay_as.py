"""`relay_as.py UID FROM TO`: passes on what comes at the socket FROM to TO, as another user.

So that a test can be a client of several users at once, in one process. It writes a line when
FROM takes connections, and serves until its standard input ends.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(1 << 20):
            sink.sendall(piece)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(listener: socket.socket, to: str) -> None:
    while True:
        client, _ = listener.accept()
        daemon = socket.socket(socket.AF_UNIX)
        daemon.connect(to)
        for pair in ((client, daemon), (daemon, client)):
            threading.Thread(target=pass_on, args=pair, daemon=True).start()


def main(uid: int, here: str, to: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(here)
    listener.listen(128)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    threading.Thread(target=serve, args=(listener, to), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
