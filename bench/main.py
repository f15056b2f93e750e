"""Benchmarks of ptraced beside other tools, on one producer; writes docs/performance.md.

Needs root, two CPUs, perf, bpftrace, BCC and a C compiler. See performance.md.in for what is
measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from control import measure_control
from dialects import HANDLERS as DIALECT_HANDLERS
from dialects import measure_dialects
from empty_call import cpu_per_million
from latency import measure_latency
from measure import measure
from ours import Daemon, Ours
from peers import Bcc, Bpftrace, PerfFile, PerfPipe
from producer import CONSUMER_CPU, PRODUCER_CPU, Producer
from reading import measure_reading, recordings
from report import Results, dialect_table, page, reading_table
from tool import Tool
from wildcard import measure_bcc, measure_ours

from ptraced.headers import find_headers

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


@dataclass(frozen=True)
class Effort:
    """How much to measure: rounds, calls at full speed, seconds of a latency run,
    and of load that control calls are made under.

    `calls` are for tools that take many millions a second, `slow_calls` for those that do not.
    """

    rounds: int
    calls: int
    slow_calls: int
    latency_seconds: float
    control_seconds: int


FULL = Effort(
    rounds=5, calls=8_000_000, slow_calls=1_000_000, latency_seconds=3, control_seconds=20
)
QUICK = Effort(rounds=1, calls=200_000, slow_calls=50_000, latency_seconds=0.5, control_seconds=20)


def main(arguments: Sequence[str]) -> int:
    """Run the benchmarks as `arguments` say and return the exit status."""
    options = _options(arguments)
    if not {PRODUCER_CPU, CONSUMER_CPU} <= os.sched_getaffinity(0):
        print("error: the benchmarks need CPUs 0 and 1", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("error: the benchmarks need root, as the other tools do", file=sys.stderr)
        return 2
    # What is started from here on inherits it; the producer moves itself.
    os.sched_setaffinity(0, {CONSUMER_CPU})
    effort = QUICK if options.quick else FULL
    effort = replace(effort, rounds=options.rounds or effort.rounds)
    with ExitStack() as resources:
        directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        headers = find_headers(directory / "state").path
        daemon = resources.enter_context(Daemon(directory))
        if options.scripts:
            results = Results()
            _measure_scripts(effort, directory, daemon, Producer(directory), results, peers=True)
            print(dialect_table(results.dialects), reading_table(results.readings), sep="\n\n")
            return 0
        results = _run(effort, directory, headers, daemon, peers=not options.ours)
    text = page(results, " ".join(["bench/run", *arguments]))
    options.output.write_text(text)
    print(text)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round, to see it work")
    parser.add_argument("--ours", action="store_true", help="leave the other tools out")
    parser.add_argument(
        "--scripts", action="store_true", help="print what perf's scripts cost, and nothing else"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="not so many as usual")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write")
    return parser.parse_args(arguments)


def _run(effort: Effort, directory: Path, headers: Path, daemon: Daemon, peers: bool) -> Results:
    producer = Producer(directory)
    tools: list[Tool] = [Ours(daemon, handler, effort.calls) for handler in _OUR_HANDLERS]
    delivering: list[Tool] = [Ours(daemon, "latency", effort.calls)]
    if peers:
        tools += _peers(headers, directory, effort)
        delivering += _delivering_peers(headers)
    results = Results()
    for number in range(1, effort.rounds + 1):
        _progress(f"round {number} of {effort.rounds}")
        results.empty_calls.append(cpu_per_million(effort.calls))
        results.untraced_ns.append(_untraced(producer, effort.calls))
        for tool in tools:
            _measure(tool, producer, results)
        for tool in delivering:
            _progress(f"  {tool.name}, latency")
            latency = measure_latency(tool, producer, effort.latency_seconds)
            results.latencies.setdefault(tool.name, []).append(latency)
        which = "ptraced" if number == 1 else "ptraced, again"
        _progress(f"  {which}, wildcard")
        results.wildcards.setdefault(which, []).append(measure_ours(daemon))
    if peers:
        _progress("BCC, wildcard")
        results.wildcards["BCC, one function each"] = [measure_bcc(headers)]
    _measure_scripts(effort, directory, daemon, producer, results, peers=peers)
    _progress("control calls")
    busy = directory / "busy"
    busy.mkdir()
    results.controls = measure_control(busy, producer, effort.control_seconds)
    return results


def _measure_scripts(
    effort: Effort,
    directory: Path,
    daemon: Daemon,
    producer: Producer,
    results: Results,
    *,
    peers: bool,
) -> None:
    """Measure scripts in perf's dialect, live and, with `peers`, on a recording of perf's."""
    files = recordings(directory, producer, effort.slow_calls) if peers else {}
    for number in range(1, effort.rounds + 1):
        _progress(f"scripts in perf's dialect, round {number} of {effort.rounds}")
        for handler in DIALECT_HANDLERS:
            cost = measure_dialects(daemon, producer, handler, effort.calls)
            results.dialects.setdefault(handler, []).append(cost)
        for handler, file in files.items():
            for name, reading in measure_reading(file, handler).items():
                results.readings.setdefault((name, handler), []).append(reading)


_OUR_HANDLERS = ("count", "fields", "batch")


def _peers(headers: Path, directory: Path, effort: Effort) -> list[Tool]:
    return [
        Bcc(headers, "perf", "count", effort.slow_calls),
        Bcc(headers, "perf", "fields", effort.slow_calls),
        Bcc(headers, "ring", "count", effort.slow_calls),
        Bcc(headers, "ring", "fields", effort.slow_calls),
        PerfFile(directory, effort.slow_calls),
        PerfPipe("count", effort.slow_calls),
        PerfPipe("fields", effort.slow_calls),
        Bpftrace(effort.calls),
    ]


def _delivering_peers(headers: Path) -> list[Tool]:
    return [
        Bcc(headers, "perf", "latency", 0),
        Bcc(headers, "ring", "latency", 0),
        PerfPipe("latency", 0),
    ]


def _measure(tool: Tool, producer: Producer, results: Results) -> None:
    _progress(f"  {tool.name}, {tool.handler}")
    rounds = results.tools.setdefault((tool.name, tool.handler), [])
    hint = max((earlier.lossless.rate for earlier in rounds), default=None)
    rounds.append(measure(tool, producer, hint))


def _untraced(producer: Producer, calls: int) -> float:
    produced = producer.calls(calls)
    return produced.ns / produced.calls


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
