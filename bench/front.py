"""What the front costs: the same stream over gRPC's own socket, the front socket, and TLS.

Run it as `.venv/bin/python bench/front.py`; it needs no root. Prints GB/s, and the CPU time of all
processes for a GB, as medians of rounds in which the ways take turns.
"""

from __future__ import annotations

import os
import pwd
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc

from ptraced.certs import Authority
from ptraced.config import Tls
from ptraced.connection_limits import ConnectionLimits
from ptraced.front import Front
from ptraced.public_socket import PublicSocket
from ptraced.tls_front import TlsFront

# As the daemon sends: its largest messages have about this size.
MESSAGE = bytes(256 << 10)
MESSAGES = 4096
ROUNDS = 7
LIMITS = ConnectionLimits(total=64, per_user=64)

CLIENT = """
import sys, grpc
target, count, folder = sys.argv[1:]
options = [("grpc.max_receive_message_length", -1)]
if folder:
    read = lambda name: open(f"{folder}/{name}", "rb").read()
    credentials = grpc.ssl_channel_credentials(read("ca.crt"), read("user.key"), read("user.crt"))
    channel = grpc.secure_channel(target, credentials, options=options)
else:
    channel = grpc.insecure_channel(target, options=options)
assert sum(1 for _ in channel.unary_stream("/bench.Bench/Read")(count.encode())) == int(count)
"""


class Served:
    """A gRPC server behind both fronts; `targets` are the ways to it, with a folder for TLS."""

    def __init__(self, folder: Path) -> None:
        inner = folder / "inner"
        inner.mkdir(mode=0o700)
        own = f"unix:{inner}/g"
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4))
        handler = {"Read": grpc.unary_stream_rpc_method_handler(_read)}
        self._grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("bench.Bench", handler),)
        )
        self._grpc.add_insecure_port(own)
        self._grpc.start()
        self._front = Front(PublicSocket(folder / "s", 0o600, ""), own, LIMITS)
        self._front.start()
        authority = Authority(folder / "ca")
        authority.create("bench")
        authority.issue_server(["localhost"])
        files = authority.issue_user("bench")
        config = Tls(
            listen="127.0.0.1:0",
            certificate=folder / "ca/server.crt",
            key=folder / "ca/server.key",
            client_ca=folder / "ca/ca.crt",
            users={"bench": pwd.getpwuid(os.getuid()).pw_name},
        )
        self._tls = TlsFront(config, own, LIMITS)
        self._tls.start()
        self.targets = {
            "gRPC's own socket": (own, ""),
            "front socket": (f"unix:{folder}/s", ""),
            "TLS": (f"localhost:{self._tls.port}", str(files)),
        }
        processes = [self._front._process.process, self._tls._process.process]
        self._fronts = [process.pid for process in processes if process is not None]

    def measure(self, target: str, folder: str) -> tuple[float, float]:
        """GB/s, and CPU seconds for a GB."""
        before, began = self._cpu(), time.monotonic()
        command = [sys.executable, "-c", CLIENT, target, str(MESSAGES), folder]
        subprocess.run(command, check=True)
        seconds = time.monotonic() - began
        gigabytes = len(MESSAGE) * MESSAGES / 1e9
        return gigabytes / seconds, (self._cpu() - before) / gigabytes

    def stop(self) -> None:
        self._grpc.stop(None).wait()
        self._front.stop()
        self._tls.stop()

    def _cpu(self) -> float:
        times = os.times()
        ended = times.user + times.system + times.children_user + times.children_system
        return ended + sum(_cpu_of(pid) for pid in self._fronts)


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # utime and stime of proc(5), which counts from 1; the first two are cut off.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    for _ in range(int(request)):
        yield MESSAGE


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder))
        rates: dict[str, list[float]] = {name: [] for name in served.targets}
        costs: dict[str, list[float]] = {name: [] for name in served.targets}
        for _ in range(ROUNDS):
            for name, target in served.targets.items():
                rate, cost = served.measure(*target)
                rates[name].append(rate)
                costs[name].append(cost)
        served.stop()
    for name in rates:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(f"{name:18} {rate:5.2f} GB/s  {cost:5.2f} CPU s/GB")


if __name__ == "__main__":
    main()
