"""Names of flags and symbols that scripts in perf's dialect are told of a daemon's events."""

from __future__ import annotations

from pathlib import Path

from test_perf_live import EVENT, FIRST, HEAD, Run, make_batch

from ptrace_client.perf_script.options import DialectOptions
from ptrace_proto import ptrace_pb2 as pb

SCRIPT = f"""\
def define_symbolic_value(*told):
    seen.append(told)
def test__event({HEAD}):
    pass
"""


def named() -> pb.EventSchema:
    schema = pb.EventSchema()
    schema.CopyFrom(EVENT)
    schema.print_fmt = '"%s", __print_symbolic(REC->mode, { REL, "rel" })'
    (mode,) = (info for info in schema.all_fields if info.name == "mode")
    mode.named_values.values.add(value=7, name="rel")
    return schema


def test_values_are_perfs_or_where_they_are_to_be_sane_true(tmp_path: Path) -> None:
    for sane, value in ((False, 0), (True, 7)):
        run = Run(tmp_path, SCRIPT, named(), options=DialectOptions(sane_values=sane))
        run.send(make_batch(EVENT, FIRST, cpu=3))
        assert run.seen == [("test__event", "mode", value, "rel")]
