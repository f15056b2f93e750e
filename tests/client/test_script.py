"""Loading of scripts, and which handler an event goes to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from event_samples import make_batch, make_sample_schema, make_schema

from conftest import LoadSource
from ptrace_client.errors import ClientError
from ptrace_client.event import PerfEvent
from ptrace_client.event_decoder import EventDecoder
from ptrace_client.script import Script, handler_names, load_script
from ptrace_proto import ptrace_pb2 as pb

WAKEUP = make_schema()
SWITCH = make_schema("sched:sched_switch", number=2)


def handlers(script: Script, *schemas: pb.EventSchema) -> dict[str, str]:
    """Return the name of the handler of each event that has one."""
    return {
        f"{binding.schema.name}/{binding.schema.alias}".rstrip("/"): binding.handler.__name__
        for binding in script.bind(schemas, False)
    }


def refusal(module: str | Path) -> ClientError:
    with pytest.raises(ClientError) as caught:
        load_script(str(module), [])
    return caught.value


def test_a_script_sees_what_perf_prof_shows_it(
    tmp_path: Path, interpreter: None, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a script in a folder with a module of its own
    (tmp_path / "helper_of_script.py").write_text("value = 42\n")
    path = tmp_path / "my.script.py"
    path.write_text(
        "import sys, perf_prof, helper_of_script\n"
        "print(__name__, sys.argv, sys.path[0], helper_of_script.value)\n"
        "Event = perf_prof.PerfEvent\n"
        "from perf_prof import *\n"
        "def __sample__(event: PerfEvent): pass\n"
    )
    # WHEN it is loaded
    script = load_script(str(path), ["--threshold", "50"])
    # THEN
    assert capsys.readouterr().out == (f"my ['{path}', '--threshold', '50'] {tmp_path} 42\n")
    assert script.path == str(path)
    assert sys.modules["my"].Event is PerfEvent


def test_argv_has_the_path_as_it_was_typed(
    tmp_path: Path, interpreter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typed.py").write_text("def __sample__(event): pass\n")
    monkeypatch.chdir(tmp_path)
    script = load_script("./typed.py", [])
    assert sys.argv == ["./typed.py"]
    assert sys.path[0] == str(tmp_path)
    assert script.path == str(tmp_path / "typed.py")


def test_a_module_name_is_searched_here_first_then_along_the_path(
    tmp_path: Path, interpreter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, library = tmp_path / "here", tmp_path / "library"
    for folder, names in ((here, ["both"]), (library, ["both", "other", "package/inner"])):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.py").write_text("def __sample__(event): pass\n")
    monkeypatch.chdir(here)
    sys.path.append(str(library))

    assert load_script("both", []).path == str(here / "both.py")
    assert load_script("other", ["x"]).path == str(library / "other.py")
    assert sys.argv == ["other", "x"]
    assert load_script("package.inner", []).path == str(library / "package/inner.py")


def test_a_command_without_suffix_is_a_script_too(tmp_path: Path, interpreter: None) -> None:
    path = tmp_path / "watch-wakeups"
    path.write_text("#!/usr/bin/env -S ptrace-client run -e sched:sched_wakeup\nx = __name__\n")
    assert load_script(str(path), []).path == str(path)


def test_a_script_may_be_called_like_a_module_in_use(tmp_path: Path, interpreter: None) -> None:
    path = tmp_path / "traceback.py"
    path.write_text("def __sample__(event): pass\n")
    before = sys.modules["traceback"]
    assert load_script(str(path), []).path == str(path)
    assert sys.modules["traceback"] is before


def test_scripts_that_are_not_there(
    tmp_path: Path, interpreter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counter").write_text("")
    error = refusal("nosuch.py")
    assert str(error) == "no script nosuch.py: there is no such file"
    assert error.status == 2
    assert str(refusal(f"{tmp_path}/")) == f"cannot load {tmp_path}/: it is not a file"
    assert str(refusal("nosuch")) == (
        f"no script nosuch: no module of that name in {tmp_path} or along sys.path"
    )
    assert str(refusal("counter")) == (
        f"no script counter: no module of that name in {tmp_path} or along sys.path; "
        "for the file of that name write ./counter"
    )


def test_a_syntax_error_is_shown_as_python_shows_it(tmp_path: Path, interpreter: None) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef handler(event:\n    pass\n")
    error = refusal(path)
    assert error.status == 2
    assert str(error) == (
        f"cannot load {path}:\n"
        f'  File "{path}", line 2\n'
        "    def handler(event:\n"
        "               ^\n"
        "SyntaxError: '(' was never closed"
    )
    assert "broken" not in sys.modules


def test_an_exception_while_loading_shows_the_scripts_frames_only(
    tmp_path: Path, interpreter: None
) -> None:
    path = tmp_path / "failing.py"
    path.write_text("def f():\n    import nosuch_module_here\nf()\n")
    error = refusal(path)
    assert error.status == 1
    assert str(error) == (
        f"cannot load {path}:\n"
        "Traceback (most recent call last):\n"
        f'  File "{path}", line 3, in <module>\n'
        "    f()\n"
        f'  File "{path}", line 2, in f\n'
        "    import nosuch_module_here\n"
        "ModuleNotFoundError: No module named 'nosuch_module_here'"
    )


def test_sys_exit_while_loading_is_the_scripts_own_affair(
    load_source: LoadSource,
) -> None:
    with pytest.raises(SystemExit) as caught:
        load_source("import sys; sys.exit(3)")
    assert caught.value.code == 3


def test_an_events_own_handler_comes_before_sample(load_source: LoadSource) -> None:
    script = load_source("def sched__sched_wakeup(event): pass\ndef __sample__(event): pass\n")
    assert handlers(script, WAKEUP, SWITCH) == {
        "sched_wakeup": "sched__sched_wakeup",
        "sched_switch": "__sample__",
    }
    assert script.warnings([WAKEUP, SWITCH]) == []


def test_aliases_name_handlers(load_source: LoadSource) -> None:
    script = load_source(
        "def sched__first(event): pass\n"
        "def second_one(event): pass\n"
        "def sched__sched_wakeup(event): pass\n"
    )
    first, second, plain, third = (
        make_schema(alias=alias, number=number)
        for number, alias in enumerate(("first", "second-one", "", "third"), 1)
    )
    assert handlers(script, first, second, plain, third) == {
        "sched_wakeup/first": "sched__first",
        "sched_wakeup/second-one": "second_one",
        "sched_wakeup": "sched__sched_wakeup",
    }


def test_characters_that_no_name_has_become_underscores(load_source: LoadSource) -> None:
    script = load_source("def my_sys__a_b_c(event): pass\n")
    assert handlers(script, make_schema("my-sys:a.b-c")) == {"a.b-c": "my_sys__a_b_c"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (make_schema("kprobe:vfs_read"), ["kprobe__vfs_read"]),
        (make_schema("kprobe:vfs_read+0x10"), ["kprobe__vfs_read_0x10"]),
        (make_schema("kretprobe:foo.isra.0", alias="left"), ["kretprobe__left", "left"]),
        (make_schema("uprobe:ns::f<int>(char)"), ["uprobe__ns__f_int__char_"]),
        (make_schema("usdt:python:function__entry"), ["usdt__python_function__entry"]),
        (make_sample_schema(), ["profile"]),
        (make_sample_schema("page-faults"), ["page_faults"]),
        (make_sample_schema("profile", alias="hot-spots"), ["hot_spots"]),
        (make_sample_schema("cpu/event=0x3c,umask=1/"), ["cpu_event_0x3c_umask_1_"]),
    ],
)
def test_names_of_handlers_of_probes_and_samples(
    schema: pb.EventSchema, expected: list[str]
) -> None:
    assert handler_names(schema) == expected


def test_samples_have_handlers_of_all_kinds(load_source: LoadSource) -> None:
    profile = make_sample_schema(number=2)
    faults = make_sample_schema("page-faults", number=3)
    one = load_source("def profile(event): pass\ndef __sample__(event): event.print()\n")
    assert handlers(one, WAKEUP, profile, faults) == {
        "sched_wakeup": "__sample__",
        "profile": "profile",
        "page-faults": "__sample__",
    }
    assert one.projections([profile, faults], False) == [
        pb.Projection(event="profile"),
        pb.Projection(
            event="page-faults",
            fields=["_comm", "_pid", "_tid", "_time", "callchain", "ip", "period"],
        ),
    ]
    both = load_source("def profile__batch(batch): pass\ndef profile(event): pass\n")
    assert handlers(both, profile) == {"profile": "profile__batch"}
    assert both.warnings([profile]) == ["profile is not called: profile__batch takes its events"]


def test_any_callable_counts(load_source: LoadSource) -> None:
    script = load_source(
        "import functools\n"
        "class Handler:\n"
        "    __name__ = 'object'\n"
        "    def __call__(self, event): pass\n"
        "sched__sched_wakeup = Handler()\n"
        "__sample__ = print\n"
        "__init__ = functools.partial(print, 'x')\n"
        "__interval__ = 5\n"
    )
    assert handlers(script, WAKEUP, SWITCH) == {"sched_wakeup": "object", "sched_switch": "print"}
    assert script.init is not None
    assert script.interval is None


def test_projections_ask_for_what_is_read(load_source: LoadSource) -> None:
    script = load_source(
        "def sched__sched_wakeup(event): event.pid, event._realtime, event.nosuch\n"
        "def sched__sched_switch(event): print(event)\n"
    )
    other = make_schema("sched:sched_waking", number=3)
    schemas = [WAKEUP, SWITCH, other, WAKEUP]
    assert script.projections(schemas, all_fields=False) == [
        pb.Projection(event="sched:sched_wakeup", fields=["_time", "pid"]),
        pb.Projection(event="sched:sched_switch", all_fields=True),
        pb.Projection(event="sched:sched_waking"),
    ]
    assert script.projections(schemas, all_fields=True) == [
        pb.Projection(event="sched:sched_wakeup", all_fields=True),
        pb.Projection(event="sched:sched_switch", all_fields=True),
        pb.Projection(event="sched:sched_waking"),
    ]


def test_a_script_without_handlers_is_refused(load_source: LoadSource) -> None:
    script = load_source("def __interval__(): pass\n")
    with pytest.raises(ClientError) as caught:
        script.projections([WAKEUP, SWITCH], False)
    assert str(caught.value) == (
        f"{script.path} has no handler for sched:sched_wakeup,sched:sched_switch: "
        "define sched__sched_wakeup(event) or __sample__(event)"
    )
    assert caught.value.status == 2


def test_a_handler_of_an_event_that_was_not_selected_is_told(load_source: LoadSource) -> None:
    script = load_source(
        "from os.path import join as os__join\n"
        "def sched__sched_switch(event): pass\n"
        "def sched__sched_waking__batch(batch): pass\n"
        "def sched__sched_wakeup(event): pass\n"
        "class my__type: pass\n"
        "def __my_helper__(): pass\n"
        "def _private__helper(): pass\n"
    )
    many = [make_schema(f"irq:e{number}", number=number + 2) for number in range(6)]
    assert script.warnings([WAKEUP]) == [
        "handler sched__sched_switch is not called: its event is not selected "
        "(-e sched:sched_wakeup)",
        "handler sched__sched_waking__batch is not called: its event is not selected "
        "(-e sched:sched_wakeup)",
    ]
    assert script.warnings([SWITCH, WAKEUP, *many]) == [
        "handler sched__sched_waking__batch is not called: its event is not selected "
        "(-e sched:sched_switch,sched:sched_wakeup,irq:e0,irq:e1,irq:e2 and 3 more)",
        "no handler takes irq:e0,irq:e1,irq:e2,irq:e3,irq:e4 and 1 more: these events are dropped",
    ]


def test_a_batch_handler_wins(load_source: LoadSource) -> None:
    script = load_source(
        "def sched__sched_wakeup__batch(batch): batch['pid']\n"
        "def sched__sched_wakeup(event): event.comm\n"
        "def __sample__(event): pass\n"
    )
    assert handlers(script, WAKEUP) == {"sched_wakeup": "sched__sched_wakeup__batch"}
    assert script.projections([WAKEUP], False) == [
        pb.Projection(event="sched:sched_wakeup", fields=["pid"])
    ]
    assert script.warnings([WAKEUP]) == [
        "sched__sched_wakeup is not called: sched__sched_wakeup__batch takes its events"
    ]


CYTHON_SOURCE = """\
# cython: language_level=3
import perf_prof
cdef long count = 0
def __init__():
    global count
    count = 0
    print("compiled", __name__)
def sched__sched_wakeup(event):
    global count
    assert isinstance(event, perf_prof.PerfEvent)
    count += event.pid
def __exit__():
    print("sum", count)
"""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a script that Cython compiled, as its users do it."""
    folder = tmp_path_factory.mktemp("cython")
    (folder / "myanalyzer.pyx").write_text(CYTHON_SOURCE)
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", "myanalyzer.pyx"],
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ, "CFLAGS": "-O0"},
    )
    (extension,) = folder.glob("*.so")
    return extension


@pytest.mark.parametrize("by_name", [False, True])
def test_a_compiled_module_is_a_script(
    compiled: Path,
    by_name: bool,
    interpreter: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # GIVEN an extension module, given by its path or by its name
    monkeypatch.chdir(compiled.parent)
    script = load_script("myanalyzer" if by_name else str(compiled), [])
    assert script.path == str(compiled)
    # THEN its handler gets all fields, as its code cannot be looked at
    assert script.projections([WAKEUP], False) == [
        pb.Projection(event="sched:sched_wakeup", all_fields=True)
    ]
    assert script.warnings([WAKEUP]) == []
    # AND its callbacks work
    assert script.init is not None
    assert script.exit is not None
    (binding,) = script.bind([WAKEUP], False)
    script.init()
    for event in events_with_pids(10, 20):
        binding.handler(event)
    script.exit()
    assert capsys.readouterr().out == "compiled myanalyzer\nsum 30\n"


def events_with_pids(*pids: int) -> list[Any]:
    batch = make_batch(WAKEUP, *({"pid": pid} for pid in pids))
    return list(EventDecoder(WAKEUP, 0).decode(batch))
