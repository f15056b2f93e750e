"""Scripts by name: where they are found, what is told of them, what they record."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ptrace_client.cli import execute
from ptrace_client.errors import ClientError
from ptrace_client.perf_script import catalogue
from ptrace_client.perf_script.catalogue import find_script, no_script
from ptrace_client.perf_script.record_file import RecordCommand, read_record_file
from ptrace_client.perf_script.script_events import events_for, handler_names
from unprivileged import as_user

REPORT = """#!/bin/bash
#description: counts of things
# args: <what> [<comm>] [interval]
perf script $@ -s "$PERF_EXEC_PATH"/scripts/python/things.py
"""


@pytest.fixture(autouse=True)
def no_other_scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaves out those that the machine has."""
    monkeypatch.setattr(catalogue, "_PERFS", (str(tmp_path / "perf*-core"),))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PERF_EXEC_PATH", raising=False)
    monkeypatch.delenv("PTRACED_SCRIPTS", raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts, with bin/ in it."""
    folder = tmp_path / "scripts"
    (folder / "bin").mkdir(parents=True)
    monkeypatch.setenv("PTRACED_SCRIPTS", f"/nowhere:{folder}")
    return folder


def add(folder: Path, name: str, *, text: str = "", record: str = "", report: str = "") -> Path:
    """Put a script into a folder."""
    path = folder / f"{name}.py"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for kind, content in (("record", record), ("report", report)):
        if content:
            (folder / "bin" / f"{name}-{kind}").write_text(content)
    return path


class TestNames:
    def test_a_report_file_describes_its_script(self, folder: Path) -> None:
        add(folder, "things", report=REPORT)
        (script,) = catalogue.catalogue()
        assert (script.name, script.path) == ("things", folder / "things.py")
        assert (script.description, script.arguments) == (
            "counts of things",
            "<what> [<comm>] [interval]",
        )
        assert script.required_arguments == 2

    def test_a_script_without_files_may_describe_itself(self, folder: Path) -> None:
        add(folder, "things", text="# description: of its own\nimport os\n")
        add(folder, "library", text="import os\n")
        assert [script.name for script in catalogue.catalogue()] == ["things"]
        assert find_script("library") is not None

    def test_the_users_own_come_before_perfs(self, folder: Path, tmp_path: Path) -> None:
        perfs = tmp_path / "perf-core/scripts/python"
        add(perfs, "things", record="perf record")
        add(perfs, "theirs", record="perf record")
        own = add(folder, "things", record="perf record")
        config = add(tmp_path / "config/ptraced/scripts", "mine", record="perf record")
        found = {script.name: script.path for script in catalogue.catalogue()}
        assert found == {"mine": config, "theirs": perfs / "theirs.py", "things": own}

    def test_perf_exec_path_comes_before_what_is_installed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        add(tmp_path / "perf-core/scripts/python", "things", report=REPORT)
        chosen = add(tmp_path / "chosen/scripts/python", "things", report=REPORT)
        monkeypatch.setenv("PERF_EXEC_PATH", str(tmp_path / "chosen"))
        script = find_script("things.py")
        assert script is not None
        assert script.path == chosen

    @pytest.mark.parametrize("name", ["nothing", "../scripts/things", "./things", ".things", ""])
    def test_other_names_have_no_script(self, folder: Path, name: str) -> None:
        add(folder, "things", report=REPORT)
        assert find_script(name) is None

    @pytest.mark.parametrize(
        ("name", "hint"),
        [("thigns", "things"), ("thigns.py", "things"), ("wake-latency", "@wakeup")],
    )
    def test_an_unknown_name_has_a_suggestion(self, folder: Path, name: str, hint: str) -> None:
        add(folder, "things", report=REPORT)
        assert f"no script {name} (did you mean {hint}" in str(no_script(name))

    def test_perl_is_named(self, tmp_path: Path) -> None:
        perl = tmp_path / "perf-core/scripts/perl"
        perl.mkdir(parents=True)
        (perl / "rwtop.pl").touch()
        assert str(no_script("rwtop")).endswith("is a Perl script; only scripts in Python run here")

    def test_folders_of_others_are_passed_over(self) -> None:
        """Under sudo and the like, HOME is often somebody else's."""
        # GIVEN a folder, in one that everybody may enter, that nobody but root may
        with tempfile.TemporaryDirectory() as place:
            Path(place).chmod(0o755)
            open_one, closed = Path(place, "open"), Path(place, "closed")
            open_one.mkdir()
            closed.mkdir(0)
            program = "from ptrace_client.perf_script import catalogue\nprint(*catalogue.folders())"
            # WHEN another user looks for scripts
            done = subprocess.run(
                as_user([sys.executable, "-c", program]),
                env={
                    "HOME": str(closed),
                    "PTRACED_SCRIPTS": f"{closed}/x:{open_one}",
                    "PERF_EXEC_PATH": str(closed),
                },
                capture_output=True,
                text=True,
                check=True,
            )
            # THEN only what is open to them is looked at
            assert done.stdout.split()[0] == str(open_one)

    def test_unreadable_texts_say_nothing(self, folder: Path) -> None:
        add(folder, "things", report=REPORT)
        (folder / "bin/things-report").write_bytes(b"\xff\0# description:\n# args: \x1b[2J\n")
        (folder / "directory.py").mkdir()
        script = find_script("things")
        assert script is not None
        assert script.description == ""


class TestCommand:
    def test_the_list(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        add(folder, "things", report=REPORT)
        add(folder, "other", report="# description: \x1b[2Jother\n")
        assert execute(["scripts"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:3] == [
            "List of available trace scripts:",
            "  other                                \\x1b[2Jother",
            "  things <what> [<comm>] [interval]    counts of things",
        ]
        assert any(line.startswith("  @off-cpu ") for line in lines)

    def test_one_script(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = add(folder, "things", report=REPORT, record="perf record -g -e sched:x $@\n")
        assert execute(["scripts", "things"]) == 0
        assert capsys.readouterr().out == (
            "name         things\n"
            f"file         {path}\n"
            "description  counts of things\n"
            "arguments    <what> [<comm>] [interval]\n"
            f"events       sched:x -g, by {folder}/bin/things-record\n"
        )

    def test_an_unknown_one(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        add(folder, "things", report=REPORT)
        assert execute(["scripts", "thing"]) == 2
        assert "(did you mean things?)" in capsys.readouterr().err


class TestRecordFiles:
    @pytest.mark.parametrize(
        ("text", "commands"),
        [
            ("perf record -e sched:a $@", [RecordCommand(["sched:a"])]),
            ('#!/bin/sh\n\n# why\nperf record "$@"\n', [RecordCommand()]),
            ("perf record -e a:b,c:d -e 'e:f' $@", [RecordCommand(["a:b", "c:d", "e:f"])]),
            ('perf record -e "{a:b,c:d}:S" $@', [RecordCommand(["a:b", "c:d"])]),
            ("perf record -e a:b \\\n\t\t-e c:d \\\n $@", [RecordCommand(["a:b", "c:d"])]),
            (
                "(perf record -e a:b $@ || \\\n perf record -e c:d $@) 2> /dev/null",
                [RecordCommand(["a:b"]), RecordCommand(["c:d"])],
            ),
            ("perf record -g -F 99 $@", [RecordCommand(call_graph=True, frequency=99)]),
            ("perf record -agF99 -c1 $@", [RecordCommand([], True, 99, 1)]),
            ("perf record --call-graph=dwarf --freq=99", [RecordCommand([], True, 99)]),
            ("perf record -e a:b --filter 'x == 1' $@", [RecordCommand(["a:b/x == 1/"])]),
            ("perf record -e cpu/x=1,y=2/,b:c", [RecordCommand(["cpu/x=1,y=2/", "b:c"])]),
            ("perf record -o x -m 512 -e a:b sleep -e c:d", [RecordCommand(["a:b"])]),
            ("perf record --phys-data -e $arg $@", [RecordCommand(["$arg"], is_computed=True)]),
            ("exec /usr/bin/perf record -ea:b", [RecordCommand(["a:b"])]),
            ("perf stat record -e cycles $@", []),
            ("perf record -e", [RecordCommand()]),
            ("perf record 'open", []),
            ("", []),
        ],
    )  # fmt: skip
    def test_options(self, tmp_path: Path, text: str, commands: list[RecordCommand]) -> None:
        file = tmp_path / "x-record"
        file.write_text(text)
        assert read_record_file(file) == commands

    def test_nothing_is_run(self, folder: Path, tmp_path: Path) -> None:
        made = tmp_path / "made"
        path = add(folder, "things", record=f"touch {made}\n$(touch {made})\nperf record -e a:b\n")
        assert events_for(path).selectors == ("a:b",)
        assert not made.exists()


HANDLERS = """
def sched__sched_switch(event_name, context, common_cpu): pass
def helper(): pass
def stat__cycles(cpu, thread, time, val, ena, run): pass
if __name__ == "__main__":
    def net__xmit(*args): pass
    try:
        import nothing
    except ImportError:
        irq__entry = helper
    def start():
        global skb__free
        def skb__free(*args): pass
    start()
class Some:
    def block__issue(self): pass
"""
KNOWN = {"sched:sched_switch", "net:xmit", "irq:entry", "raw_syscalls:sys_enter", "cpu-clock"}


class TestEvents:
    def test_those_of_the_record_file_come_first(self, folder: Path) -> None:
        path = add(folder, "things", text=HANDLERS, record="perf record -g -e a:b")
        choice = events_for(path)
        assert (choice.selectors, choice.call_graph, choice.is_guess) == (("a:b",), True, False)
        assert choice.messages() == [f"events of {folder}/bin/things-record with -g: a:b"]

    def test_else_those_of_the_handlers(self, folder: Path) -> None:
        path = add(folder, "things", text=HANDLERS)
        assert handler_names(path)[-2:] == ["start", "skb__free"]
        choice = events_for(path)
        assert choice.selectors == ("sched:sched_switch", "net:xmit", "irq:entry", "skb:free")
        assert choice.is_guess
        assert choice.messages() == [
            "events of the handlers of things.py: sched:sched_switch,net:xmit,irq:entry,skb:free"
        ]

    def test_what_the_host_lacks_is_left_out(self, folder: Path) -> None:
        choice = events_for(add(folder, "things", text=HANDLERS), known=KNOWN)
        assert choice.selectors == ("sched:sched_switch", "net:xmit", "irq:entry")
        assert choice.messages()[1:] == ["left out, as this host does not have them: skb:free"]

    def test_names_of_a_loaded_script(self, folder: Path) -> None:
        path = add(folder, "things", text=HANDLERS)
        assert events_for(path, ["irq__entry", "print"]).selectors == ("irq:entry",)

    def test_the_first_alternative_that_the_host_has(self, folder: Path) -> None:
        record = "perf record -e syscalls:sys_enter || perf record -e raw_syscalls:sys_enter"
        path = add(folder, "things", record=record)
        choice = events_for(path, known=KNOWN)
        assert (choice.selectors, choice.missing) == (("raw_syscalls:sys_enter",), ())

    def test_an_event_is_asked_for_once(self, folder: Path) -> None:
        path = add(folder, "things", record="perf record -e a:b -e c:d,a:b")
        assert events_for(path).selectors == ("a:b", "c:d")

    def test_former_names_of_events_are_not_asked_for(self, folder: Path) -> None:
        names = ["raw_syscalls__sys_enter", "syscalls__sys_enter"]
        choice = events_for(add(folder, "things"), names, KNOWN)
        assert (choice.selectors, choice.missing) == (("raw_syscalls:sys_enter",), ())

    @pytest.mark.parametrize(
        ("names", "known", "event"),
        [
            (["process_event"], None, "cpu-clock"),
            (["process_event"], KNOWN, "cpu-clock"),
            (["process_event"], KNOWN | {"cycles"}, "cycles"),
            (["a__b__c"], {"a__b:c"}, "a__b:c"),
            (["a__b__c"], None, "a:b__c"),
            (["a__b__batch"], None, "a:b"),
        ],
    )
    def test_by_a_handlers_name(
        self, folder: Path, names: list[str], known: set[str] | None, event: str
    ) -> None:
        assert events_for(add(folder, "things"), names, known).selectors == (event,)

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("def process_event(p): p['callchain']", True),
            ("def process_event(p): p['callchains']", False),
            ("def sched__sched_switch(p): p['callchain']", False),
        ],
    )
    def test_call_chains_where_the_script_reads_them(
        self, folder: Path, text: str, wanted: bool
    ) -> None:
        assert events_for(add(folder, "things", text=text)).call_graph == wanted

    @pytest.mark.parametrize(
        ("record", "selector"),
        [
            ("perf record -F 99", "cpu-clock/-F 99/"),
            ("perf record -c 5 -e page-faults:u", "page-faults:u/-c 5/"),
            ("perf record -F 99 -e sched:sched_switch", "sched:sched_switch"),
            ("perf record -F 99 -e sched:sched_*", "sched:sched_*"),
            ("perf record -F 99 -e cpu/cycles/", "cpu/cycles/"),
        ],
    )
    def test_rates_are_those_of_sampled_events(
        self, folder: Path, record: str, selector: str
    ) -> None:
        known = KNOWN | {"page-faults"}
        assert events_for(add(folder, "things", record=record), known=known).selectors == (
            selector,
        )

    @pytest.mark.parametrize(
        ("names", "text"),
        [
            (["trace_begin", "trace_unhandled"], "has no handler that is called like an event"),
            (["stat__cycles_k"], "takes counts, which are in recordings only"),
            (["xfs__x"], "this host has none of the events of the handlers of things.py: xfs:x;"),
        ],
    )
    def test_none(self, folder: Path, names: list[str], text: str) -> None:
        with pytest.raises(ClientError, match=text):
            events_for(add(folder, "things"), names, KNOWN)

    def test_a_file_that_computes_its_events_says_nothing(self, folder: Path) -> None:
        path = add(folder, "things", text=HANDLERS, record="perf record -e $arg")
        assert events_for(path).is_guess

    def test_a_script_that_does_not_parse(self, folder: Path) -> None:
        """That is told when it is loaded, for which there must be events."""
        text = "def sched__sched_switch(a):\n\tprint 'x'\n  def inner(): pass\n"
        assert handler_names(add(folder, "things", text=text)) == ["sched__sched_switch"]

    def test_one_that_does_not_parse_and_has_no_handlers(self, folder: Path) -> None:
        text = r"things.py does not parse \(Missing parentheses in call to 'print'"
        with pytest.raises(ClientError, match=text):
            events_for(add(folder, "things", text="print 'x'\n"))
