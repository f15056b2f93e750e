"""Rows of threads and their names, before others refer to them."""

from __future__ import annotations

from ptrace_client.perf_script.db_rows import MACHINE, Rows, signed64
from ptrace_client.perf_script.db_threads import Comm, Thread, Threads


class TaskRows:
    """Exports threads when they are first of use."""

    def __init__(self, rows: Rows, threads: Threads) -> None:
        self._rows = rows
        self._threads = threads

    def export(self, thread: Thread) -> Comm | None:
        """Export a thread, its process's first thread and their names; return the program's."""
        main_thread = self._threads.main_thread(thread)
        program = None
        if main_thread is not None:
            self._thread(main_thread, main_thread)
            program = self._threads.program(main_thread)
            if not program.db_id:
                self._comm(program, main_thread)
                self._comm_thread(program, main_thread)
        if thread is not main_thread:
            is_new = not thread.db_id
            self._thread(thread, main_thread)
            if program is not None and is_new:
                self._comm_thread(program, thread)
        if not thread.comms[0].db_id:
            self._comm(thread.comms[0], thread)
        return program

    def _thread(self, thread: Thread, main_thread: Thread | None) -> None:
        if thread.db_id:
            return
        thread.db_id = self._rows.new_id("thread_table")
        main_id = main_thread.db_id if main_thread else 0
        self._rows.add("thread_table", thread.db_id, MACHINE, main_id, thread.pid, thread.tid)

    def _comm(self, comm: Comm, thread: Thread) -> None:
        comm.db_id = self._rows.new_id("comm_table")
        start = signed64(comm.start)
        self._rows.add("comm_table", comm.db_id, comm.text, thread.db_id, start, int(comm.exec))

    def _comm_thread(self, comm: Comm, thread: Thread) -> None:
        number = self._rows.new_id("comm_thread_table")
        self._rows.add("comm_thread_table", number, comm.db_id, thread.db_id)

    def switched(self, tid: int) -> tuple[int, int, bool]:
        """Export a thread of a switch; return its id, its name's, and whether it is idle."""
        thread = self._threads.find(tid)
        if thread is None or not thread.is_named:
            return 0, 0, False
        comm = self.export(thread)
        return thread.db_id, comm.db_id if comm else 0, thread.pid == thread.tid == 0
