"""ptrace-client run -i: a handler script on a recording."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

from ptrace_client.commands.run_stream import run_on_stream
from ptrace_client.perf_data.recording import open_recording
from ptrace_client.perf_data.selection import select_events
from ptrace_client.perf_script.dialect import choose_dialect
from ptrace_client.perf_script.engine import run_recording
from ptrace_client.perf_script.options import PERF_SCRIPT, DialectOptions
from ptrace_client.perf_script.script import ABORTED, load_perf_script
from ptrace_client.perf_symbols.machine import open_machine
from ptrace_client.runner import RunOptions
from ptrace_client.script import load_script
from ptrace_client.script_errors import EndRun
from ptrace_client.syscall_names import set_traced_machine


def run_on_recording(
    path: str,
    module: str,
    arguments: Sequence[str],
    options: DialectOptions,
    selectors: Sequence[str],
    run_options: RunOptions,
) -> int:
    """Run the script `module` on the recording `path` ("-": stdin) and return the exit status.

    `selectors` name the events that it is to get; all without any. Of `run_options` only
    -N is for scripts of perf's dialect, too.
    """
    recording = open_recording(path)
    if not recording.is_pipe:
        # Before the script has done anything.
        select_events(recording, selectors)
    machine = None
    try:
        is_perfs = choose_dialect(module, options.dialect) == PERF_SCRIPT
        machine = open_machine(
            recording,
            kallsyms=options.kallsyms,
            vmlinux=options.vmlinux,
            symfs=options.symfs,
            inline=options.inline,
            sane=options.sane_values or not is_perfs,
        )
        # System calls are to have the names of the recorded host.
        set_traced_machine(recording.features.arch)
        if not is_perfs:
            script = load_script(module, arguments)
            return run_on_stream(recording, machine, script, selectors, run_options)
        perf_script = load_perf_script(module, arguments)
        status = run_recording(
            perf_script, recording, machine, options, selectors, run_options.exit_n
        )
    except EndRun as end:
        status = end.status
    finally:
        if machine is not None:
            machine.close()
        recording.close()
    if status == ABORTED:
        _leave_threads_behind(status)
    return status


def _leave_threads_behind(status: int) -> None:
    """End the process at once if threads of the script would keep it, as an abort does."""
    if any(not thread.daemon for thread in threading.enumerate()[1:]):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
