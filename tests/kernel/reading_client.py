"""`reading_client.py SOCKET PAGES SELECTOR...`: drops what comes; a line at the first batch."""

from __future__ import annotations

import sys

from ptrace_client.host import connect
from ptrace_proto import ptrace_pb2 as pb


def main(socket: str, pages: int, selectors: list[str]) -> None:
    told = False
    request = pb.TraceRequest(selectors=selectors, buffer_pages=pages)
    with connect(socket=socket) as host, host.open(request) as stream:
        while True:
            message = stream.next(timeout=None)
            if message is not None and message.batches and not told:
                print("reads", flush=True)
                told = True


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
