"""What helper processes may do: next to nothing, and the daemon outlives them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptraced import compiler as compiler_module
from ptraced.compiler import Compiler
from ptraced.errors import Unavailable
from ptraced.headers import Headers, find_headers
from ptraced.symbols.demangle import Demangler

pytestmark = pytest.mark.needs_kernel("BPF programs", "BCC", "compiler sandbox", "kernel headers")

# Macros that stand for so much that nobody has read it to its end; the second for nothing at all.
EATING = "#define A0 + 1\n" + "".join(f"#define A{n + 1} A{n} A{n}\n" for n in range(40))
EATING += "int much(void *ctx) { return (long)ctx A40; }"
LOOPING = EATING.replace("#define A0 + 1", "#define A0")
SMALL = "int give(void *ctx) { return 7; }"


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Headers:
    return find_headers(tmp_path_factory.mktemp("state"))


@pytest.fixture
def compiler(headers: Headers) -> Iterator[Compiler]:
    running = Compiler(lambda: headers)
    running.warm_up()
    yield running
    running.close()


def worker_of(compiler: Compiler) -> int:
    assert compiler._worker is not None
    return compiler._worker.pid


def threads_of(pid: int) -> list[dict[str, str]]:
    """What /proc tells of each thread."""
    files = Path(f"/proc/{pid}/task").glob("*/status")
    return [dict(line.split(":\t", 1) for line in file.read_text().splitlines()) for file in files]


def test_all_threads_of_the_compile_worker_are_without_any_right(compiler: Compiler) -> None:
    threads = threads_of(worker_of(compiler))

    assert len(threads) == 2
    for status in threads:
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_the_compile_worker_has_hard_limits(compiler: Compiler) -> None:
    worker = worker_of(compiler)

    limits = {
        which: resource.prlimit(worker, which)
        for which in (
            resource.RLIMIT_AS,
            resource.RLIMIT_FSIZE,
            resource.RLIMIT_NOFILE,
            resource.RLIMIT_CORE,
        )
    }

    assert limits == {
        resource.RLIMIT_AS: (1 << 30, 1 << 30),
        resource.RLIMIT_FSIZE: (1 << 20, 1 << 20),
        resource.RLIMIT_NOFILE: (256, 256),
        resource.RLIMIT_CORE: (0, 0),
    }


def test_a_worker_that_eats_memory_ends_alone(compiler: Compiler) -> None:
    # GIVEN less than it would get, so that it takes no second
    resource.prlimit(worker_of(compiler), resource.RLIMIT_AS, (450 << 20, 450 << 20))

    with pytest.raises(Unavailable) as caught:
        compiler.compile(EATING)

    assert str(caught.value).startswith("error: the compile worker ended with status -")
    assert str(caught.value).endswith("; its own message is in the daemon's log")
    assert compiler.compile(SMALL).programs


def test_a_worker_that_takes_too_long_is_ended(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_module, "_PATIENCE", 1.0)

    with pytest.raises(Unavailable) as caught:
        compiler.compile(LOOPING)

    assert str(caught.value) == (
        "error: this takes longer to compile than the 1 s that are allowed; "
        "ask for fewer events, or for a shorter filter"
    )
    monkeypatch.undo()
    assert compiler.compile(SMALL).programs


def test_a_busy_worker_ends_with_the_daemon(headers: Headers) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "ptraced.compile_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BCC_KERNEL_SOURCE": str(headers.path)},
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps({"text": SMALL, "flags": ["-w"]}) + "\n")
        worker.stdin.flush()
        worker.stdout.readline()
        worker.stdin.write(json.dumps({"text": LOOPING, "flags": ["-w"]}) + "\n")
        worker.stdin.close()

        assert worker.wait(60) == 0


def test_who_demangles_names_is_without_any_right() -> None:
    demangler = Demangler()
    try:
        assert demangler.demangle("_ZN3foo3barEv") == "foo::bar()"
        assert demangler._child is not None
        (status,) = threads_of(demangler._child[0])
    finally:
        demangler.close()

    assert int(status["CapEff"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


# Each is tried by a process behind the filter, and what comes of it is printed.
ATTEMPTS = {
    "os.execv('/bin/true', ['true'])": "ENOSYS",
    "os.fork()": "ENOSYS",
    "__import__('socket').socket()": "ENOSYS",
    "os.kill(os.getppid(), 0)": "ENOSYS",
    "os.setuid(0)": "ENOSYS",
    "os.mkdir('/tmp/new')": "ENOSYS",
    "os.unlink('/etc/hostname')": "ENOSYS",
    "os.chmod('/tmp', 0o777)": "ENOSYS",
    "os.pidfd_open(os.getppid())": "ENOSYS",
    "resource.setrlimit(resource.RLIMIT_AS, (1, 1))": "ENOSYS",
    "open('/tmp/new', 'w')": "EACCES",
    "open('/dev/null', 'r+')": "EACCES",
    "__import__('fcntl').ioctl(1, 0x5412, b'x')": "ENOTTY",
    "syscalls.bpf(0, ctypes.create_string_buffer(144))": "EPERM",
    "open('/etc/passwd').close()": "fine",
    "os.listdir('/')": "fine",
}
TRIED = """
import ctypes, errno, json, os, resource, socket, fcntl, sys
from ptraced import sandbox, syscalls
attempts = json.load(sys.stdin)
sandbox.give_up_privileges()
sandbox.confine_thread()
outcome = {}
for attempt in attempts:
    try:
        eval(attempt)
        outcome[attempt] = "fine"
    except OSError as error:
        outcome[attempt] = errno.errorcode[error.errno]
print(json.dumps(outcome))
"""


def test_the_filter_lets_a_process_compute_and_read_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIED],
        input=json.dumps(list(ATTEMPTS)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == ATTEMPTS


def test_user_memory_is_read_by_helpers_that_read_nothing_else(compiler: Compiler) -> None:
    """GIVEN a compiler that is shown no addresses of the kernel, which BCC looks for helpers by."""
    text = """
int read(void **ctx)
{
	char to[16];
	return bpf_probe_read_user(to, 16, ctx[0]) + bpf_probe_read_user_str(to, 16, ctx[1])
		+ bpf_probe_read_kernel(to, 16, ctx[2]) + bpf_probe_read_kernel_str(to, 16, ctx[3]);
}
"""
    code = compiler.compile(text).programs["read"].instructions

    instructions = [code[at : at + 8] for at in range(0, len(code), 8)]
    # BPF_JMP | BPF_CALL; enum bpf_func_id: probe_read_user, _kernel, _user_str, _kernel_str.
    called = {int.from_bytes(one[4:], "little") for one in instructions if one[0] == 0x85}
    assert called == {112, 113, 114, 115}
