"""ptrace-client run -i: a handler script on a recording."""

from __future__ import annotations

from collections.abc import Sequence

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_script.dialect import choose_dialect
from ptrace_client.perf_script.engine import run_recording
from ptrace_client.perf_script.options import PERF_SCRIPT, DialectOptions
from ptrace_client.perf_script.script import load_perf_script
from ptrace_client.perf_symbols.machine import open_machine
from ptrace_client.script_errors import EndRun
from ptrace_client.syscall_names import set_traced_machine


def run_on_recording(
    path: str, module: str, arguments: Sequence[str], options: DialectOptions
) -> int:
    """Run the script `module` on the recording `path` ("-": stdin) and return the exit status."""
    recording = open_recording(path)
    machine = None
    try:
        machine = open_machine(
            recording, kallsyms=options.kallsyms, vmlinux=options.vmlinux, symfs=options.symfs
        )
        if choose_dialect(module, options.dialect) != PERF_SCRIPT:
            raise ClientError(f"{module}: scripts of perf-prof's dialect run on live events only")
        # System calls are to have the names of the recorded host.
        set_traced_machine(recording.features.arch)
        script = load_perf_script(module, arguments)
        return run_recording(script, recording, machine, options)
    except EndRun as end:
        return end.status
    finally:
        if machine is not None:
            machine.close()
        recording.close()
