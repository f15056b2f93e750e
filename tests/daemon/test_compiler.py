"""Compiling in a worker process: what it gives, keeps, and how its death is told."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptraced import compiler as compiler_module
from ptraced.bpf_maps import MAP_ARRAY
from ptraced.compiler import CompileError, Compiler
from ptraced.errors import Unavailable
from ptraced.headers import Headers, find_headers

pytestmark = pytest.mark.needs_kernel("BPF programs", "BCC", "kernel headers")

COUNTING = """
BPF_ARRAY(hits, u64, 3);

int count(void *ctx)
{
	u32 zero = 0;
	u64 *hit = hits.lookup(&zero);

	if (hit)
		*hit += 1;
	return 1;
}
"""


def returning(value: int) -> str:
    return f"int give(void *ctx) {{ return {value}; }}"


def workers() -> list[int]:
    """The compile workers that this process has started and not waited for."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"ptraced.compile_worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Headers:
    return find_headers(tmp_path_factory.mktemp("state"))


@pytest.fixture
def compiler(headers: Headers) -> Iterator[Compiler]:
    running = Compiler(lambda: headers)
    yield running
    running.close()


@pytest.fixture
def requests(compiler: Compiler, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the worker was asked for, in order."""
    asked: list[object] = []
    ask = compiler._ask

    def noted(request: dict[str, object]) -> dict[str, str]:
        asked.append(request["text"])
        return ask(request)

    monkeypatch.setattr(compiler, "_ask", noted)
    return asked


def test_an_object_has_programs_and_the_maps_that_they_name(compiler: Compiler) -> None:
    found = compiler.compile(COUNTING)

    assert list(found.programs) == ["count"]
    assert [name for _, name in found.programs["count"].map_references] == ["hits"]
    spec = found.maps["hits"]
    assert (spec.type, spec.key_size, spec.value_size, spec.max_entries) == (MAP_ARRAY, 4, 8, 3)


def test_the_same_text_is_compiled_once(compiler: Compiler, requests: list[object]) -> None:
    first = compiler.compile(returning(1))
    other = compiler.compile(returning(2))
    again = compiler.compile(returning(1))

    assert again is first
    assert other != first
    assert requests == [returning(1), returning(2)]


def test_what_was_not_used_for_longest_leaves_the_cache_first(
    compiler: Compiler, requests: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_module, "_KEPT_OBJECTS", 2)
    for value in (1, 2, 1, 3, 1, 2):
        compiler.compile(returning(value))

    assert requests == [returning(value) for value in (1, 2, 3, 2)]


def test_what_clang_says_is_in_the_error_and_the_worker_goes_on(compiler: Compiler) -> None:
    with pytest.raises(CompileError) as caught:
        compiler.compile("int broken(void *ctx) { return nowhere; }")

    first, place, *_ = str(caught.value).splitlines()
    assert first == "clang refused a generated program"
    assert place.endswith("error: use of undeclared identifier 'nowhere'")
    (worker,) = workers()
    assert compiler.compile(returning(3)).programs
    assert workers() == [worker]


def test_a_killed_worker_is_told_and_the_next_compilation_has_a_new_one(
    compiler: Compiler,
) -> None:
    compiler.compile(returning(1))
    (worker,) = workers()
    os.kill(worker, signal.SIGKILL)
    os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)

    with pytest.raises(Unavailable) as caught:
        compiler.compile(returning(2))

    assert str(caught.value) == (
        "error: the compile worker ended with status -9; its own message is in the daemon's log"
    )
    assert workers() == []
    assert list(compiler.compile(returning(2)).programs) == ["give"]
    (replacement,) = workers()
    assert replacement != worker


def test_half_an_answer_of_a_dying_worker_is_no_answer(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nread request\nprintf '{\"programs'\nexit 3\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))

    with pytest.raises(Unavailable) as caught:
        compiler.compile(returning(1))

    assert str(caught.value) == (
        "error: the compile worker ended with status 3; its own message is in the daemon's log"
    )
    monkeypatch.undo()
    assert compiler.compile(returning(1)).programs


def test_a_worker_is_replaced_before_it_has_taken_too_much(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_module, "_COMPILATIONS_PER_WORKER", 2)
    seen = []
    for value in range(3):
        compiler.compile(returning(value))
        seen += workers()

    first, second, third = seen
    assert first == second != third


def test_closing_ends_the_worker(compiler: Compiler) -> None:
    compiler.warm_up()
    assert len(workers()) == 1

    compiler.close()

    assert workers() == []
