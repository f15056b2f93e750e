"""Sources by what they do: sessions that ask for the same share one."""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial

from ptraced.bpf_maps import VerifierError
from ptraced.bpf_object import BpfObject, joined
from ptraced.compiler import CompileError, Compiler
from ptraced.errors import TraceError, Unavailable
from ptraced.followers import tracepoints
from ptraced.policy.grant import Quota
from ptraced.program import ModulePlan, module_texts
from ptraced.quotas.tracepoint_places import TracepointPlaces
from ptraced.reader import AnySource, Reader
from ptraced.ring_set import RingOptions
from ptraced.sampling.plan import SamplingPlan
from ptraced.sampling.program import sample_text
from ptraced.sampling.source import SamplingSource
from ptraced.source import Source
from ptraced.stacks import StacksOf, StackTable
from ptraced.tracefs import Tracefs

# Sources that may wait for their take-down at once, of one user whose rate is limited, or of all
# others.
_CLOSING_MAX = 16
# Seconds to wait for take-downs at the end.
_PATIENCE = 20.0
_NO_LIMIT = Quota()

_Compile = Callable[[str], BpfObject]


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    source: AnySource | None = None
    users: int = 0


class Hub:
    """Makes sources, counts their users, and takes them down behind the last one.

    `comm_of` gives the name of a thread by its id.
    """

    def __init__(
        self,
        tracefs: Tracefs,
        compiler: Compiler,
        reader: Reader,
        stacks: StackTable,
        comm_of: Callable[[int], bytes],
    ) -> None:
        self._tracefs = tracefs
        self._compiler = compiler
        self._reader = reader
        self._stacks = stacks
        self._comm_of = comm_of
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}
        self._keys: dict[AnySource, Hashable] = {}
        # Sources on their way down. Detaching waits for a grace period per probe: not on a
        # caller's time, and in a thread for each, so that small ones pass large ones.
        self._closing: Counter[int | None] = Counter()
        self._places = TracepointPlaces()
        self._closed_one = threading.Condition(self._lock)

    @property
    def sources(self) -> int:
        """How many there are."""
        return len(self._keys)

    def acquire(
        self,
        plan: ModulePlan | SamplingPlan,
        options: RingOptions,
        uid: int = 0,
        quota: Quota = _NO_LIMIT,
    ) -> AnySource:
        """The source of a plan, made and read if it is not yet. Give it back by `release`.

        The compiler works for user `uid`, as long as its quota allows it.

        Raises TraceError where the kernel refuses it.
        """
        key = (plan.key, options)
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            entry.users += 1
        try:
            with entry.lock:
                if entry.source is None:
                    compile_ = partial(self._compiler.compile, uid=uid, quota=quota)
                    entry.source = self._make(plan, options, compile_)
                    with self._lock:
                        self._keys[entry.source] = key
                return entry.source
        except BaseException:
            with self._lock:
                self._drop_user(key, entry)
            raise

    def release(self, source: AnySource) -> None:
        """Give a source back; the last user's return takes it down in the background."""
        with self._lock:
            key = self._keys[source]
            entry = self._entries[key]
            self._drop_user(key, entry)
            if entry.users:
                return
            del self._keys[source]
            self._closing[source.plan.payer] += 1
        source.stop()
        self._reader.remove(source)
        threading.Thread(target=self._take_down, args=(source,), name="closer", daemon=True).start()

    def close(self) -> None:
        """Wait until what was given back is down; what takes too long goes with the process."""
        with self._lock:
            self._closed_one.wait_for(lambda: not self._closing.total(), _PATIENCE)

    def _take_down(self, source: AnySource) -> None:
        try:
            source.close()
        finally:
            self._give_places_back(source.plan)
            with self._lock:
                self._closing -= Counter({source.plan.payer: 1})
                self._closed_one.notify_all()

    def _drop_user(self, key: Hashable, entry: _Entry) -> None:
        entry.users -= 1
        if not entry.users and self._entries.get(key) is entry:
            del self._entries[key]

    def _make(
        self, plan: ModulePlan | SamplingPlan, options: RingOptions, compile_: _Compile
    ) -> AnySource:
        with self._lock:
            # Callers that come and go faster than the kernel lets go would pile up what
            # waits to be closed, up to the limit of programs on a tracepoint.
            self._closed_one.wait_for(lambda: self._closing[plan.payer] < _CLOSING_MAX)
        if plan.payer is not None:
            self._places.take(plan.payer, tracepoints(plan))
        with contextlib.ExitStack() as undo:
            undo.callback(self._give_places_back, plan)
            source = self._make_now(plan, options, compile_)
            undo.pop_all()
        return source

    def _give_places_back(self, plan: ModulePlan | SamplingPlan) -> None:
        if plan.payer is not None:
            self._places.give_back(plan.payer, tracepoints(plan))

    def _make_now(
        self, plan: ModulePlan | SamplingPlan, options: RingOptions, compile_: _Compile
    ) -> AnySource:
        try:
            return self._start(self._load(plan, options, compile_))
        except CompileError as error:
            raise TraceError(f"error: a generated program did not compile: {error}") from error
        except VerifierError as error:
            raise TraceError(
                "error: the kernel's verifier refused the program; "
                f"a simpler filter may pass\n{_last_lines(error.log)}"
            ) from error
        except OSError as error:
            raise Unavailable(_refusal(error, options)) from error

    def _start(self, source: AnySource) -> AnySource:
        with contextlib.ExitStack() as undo:
            undo.callback(source.close)
            self._reader.add(source)
            undo.callback(self._reader.remove, source)
            source.start()
            undo.pop_all()
        return source

    def _load(
        self, plan: ModulePlan | SamplingPlan, options: RingOptions, compile_: _Compile
    ) -> AnySource:
        if isinstance(plan, SamplingPlan):
            return self._load_samples(plan, options, compile_)
        compiled = joined(compile_(text) for text in module_texts(plan, self._tracefs))
        stacks = StacksOf(self._stacks, plan.payer, plan.scope.owner)
        return Source(plan, compiled, options, self._tracefs, stacks)

    def _load_samples(
        self, plan: SamplingPlan, options: RingOptions, compile_: _Compile
    ) -> SamplingSource:
        text = sample_text(plan, self._tracefs)
        compiled = compile_(text) if text is not None else None
        stacks = StacksOf(self._stacks, plan.payer, plan.scope.owner)
        return SamplingSource(plan, compiled, options, self._tracefs, stacks, self._comm_of)


# What helps where something has run out, on the host or for the daemon.
_ROOM = {
    errno.EMFILE: "fewer events do, or sessions that end, or LimitNOFILE= of the daemon's unit",
    errno.ENFILE: "the host has too many files open (sysctl fs.file-max)",
    errno.ENOMEM: "smaller buffers do, or sessions that end, or MemoryMax= of the daemon's unit",
}


def _last_lines(log: str) -> str:
    return "\n".join(f"  {line}" for line in log.strip().splitlines()[-4:])


def _refusal(error: OSError, options: RingOptions) -> str:
    if isinstance(error, PermissionError):
        return (
            "error: the kernel does not permit it: ptraced needs CAP_BPF, CAP_PERFMON and "
            "CAP_DAC_READ_SEARCH, to lock memory for a buffer of "
            f"{options.pages} pages per CPU (ulimit -l), and kernel.perf_event_paranoid at most 2"
        )
    advice = _ROOM.get(error.errno or 0)
    return f"error: the kernel refused to trace: {error.strerror}" + (f"; {advice}" * bool(advice))
