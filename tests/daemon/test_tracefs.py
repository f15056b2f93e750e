"""tracefs: where it is, which events it has, what their formats say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ptrace_formats.event_format import EventFormat, FormatError, FormatField, parse_format
from ptrace_proto import ptrace_pb2 as pb
from ptraced.errors import NotFound, Unavailable
from ptraced.tracefs import Tracefs, mounted_at

HEAD = """\
name: an_event
ID: 7
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""

LONGS, UINTS = (8, False), (4, False)


def formatted(declaration: str, size: int, signed: int = 0) -> EventFormat:
    line = f"\tfield:{declaration};\toffset:8;\tsize:{size};\tsigned:{signed};\n"
    return parse_format("sys", f'{HEAD}{line}\nprint fmt: "%d", REC->x\n')


def add_event(root: Path, name: str, event_id: int = 7) -> None:
    directory = root / "events" / name.replace(":", "/")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "id").write_text(f"{event_id}\n")
    text = HEAD.replace("an_event", name.split(":")[1]).replace("ID: 7", f"ID: {event_id}")
    (directory / "format").write_text(f'{text}\nprint fmt: ""\n')


@pytest.mark.parametrize(
    ("declaration", "size", "signed", "kind", "ctype", "element"),
    [
        ("int x", 4, 1, pb.FIELD_KIND_SIGNED, "int", (4, True)),
        ("unsigned long x", 8, 0, pb.FIELD_KIND_UNSIGNED, "unsigned long", (8, False)),
        ("int x", 8, 0, pb.FIELD_KIND_UNSIGNED, "int", (8, False)),
        ("enum zone_type x", 4, 0, pb.FIELD_KIND_UNSIGNED, "enum zone_type", (4, False)),
        ("char x", 1, 0, pb.FIELD_KIND_UNSIGNED, "char", (1, False)),
        ("bool x", 1, 0, pb.FIELD_KIND_BOOL, "bool", (1, False)),
        ("bool x", 4, 0, pb.FIELD_KIND_UNSIGNED, "bool", (4, False)),
        ("const char *const * x", 8, 0, pb.FIELD_KIND_POINTER, "const char *const *", (8, False)),
        ("const void* x", 8, 0, pb.FIELD_KIND_POINTER, "const void*", (8, False)),
        ("struct page *const x", 8, 0, pb.FIELD_KIND_POINTER, "struct page *const", (8, False)),
        ("char x[16]", 16, 0, pb.FIELD_KIND_CHAR_ARRAY, "char[16]", (1, False)),
        ("char x[TASK_COMM_LEN]", 16, 0, pb.FIELD_KIND_CHAR_ARRAY, "char[TASK_COMM_LEN]", (1, 0)),
        ("__u8 x[16]", 16, 0, pb.FIELD_KIND_BYTES, "__u8[16]", (1, False)),
        ("unsigned char x[6]", 6, 0, pb.FIELD_KIND_BYTES, "unsigned char[6]", (1, False)),
        ("long x[3]", 24, 1, pb.FIELD_KIND_BYTES, "long[3]", (8, True)),
        ("unsigned long x[2][4]", 64, 0, pb.FIELD_KIND_BYTES, "unsigned long[2][4]", (8, False)),
        ("u32 x[]", 0, 0, pb.FIELD_KIND_BYTES, "u32[]", (4, False)),
        ("void * x[2]", 16, 0, pb.FIELD_KIND_BYTES, "void *[2]", (8, False)),
        ("struct pair x", 8, 0, pb.FIELD_KIND_BYTES, "struct pair", (8, False)),
        ("cpumask_t x", 24, 0, pb.FIELD_KIND_BYTES, "cpumask_t", (24, False)),
        ("__data_loc char[] x", 4, 0, pb.FIELD_KIND_DYNAMIC_STRING, "__data_loc char[]", (1, 0)),
        ("__rel_loc char[] x", 4, 0, pb.FIELD_KIND_DYNAMIC_STRING, "__rel_loc char[]", (1, 0)),
        ("__data_loc u8[] x", 4, 0, pb.FIELD_KIND_DYNAMIC_BYTES, "__data_loc u8[]", (1, False)),
        ("__data_loc s64[] x", 4, 0, pb.FIELD_KIND_DYNAMIC_BYTES, "__data_loc s64[]", (8, True)),
        (
            "__data_loc cpumask_t x",
            4,
            0,
            pb.FIELD_KIND_DYNAMIC_BYTES,
            "__data_loc cpumask_t",
            (8, 0),
        ),
        (
            "__data_loc unsigned[] x",
            4,
            0,
            pb.FIELD_KIND_DYNAMIC_BYTES,
            "__data_loc unsigned[]",
            (4, 0),
        ),
    ],
)
def test_field_kinds(
    declaration: str,
    size: int,
    signed: int,
    kind: pb.FieldKind,
    ctype: str,
    element: tuple[int, bool],
) -> None:
    (field,) = formatted(declaration, size, signed).fields

    assert field == FormatField(
        name="x",
        ctype=ctype,
        kind=kind,
        offset=8,
        size=size,
        signed=bool(signed),
        element_size=element[0],
        element_signed=bool(element[1]),
        relative=declaration.startswith("__rel_loc"),
    )


def test_format_has_common_fields_and_print_fmt() -> None:
    format = formatted("int x", 4, 1)

    assert (format.system, format.name, format.id) == ("sys", "an_event", 7)
    assert format.print_fmt == '"%d", REC->x'
    assert [(field.name, field.offset, field.size) for field in format.common] == [
        ("common_type", 0, 2),
        ("common_flags", 2, 1),
        ("common_preempt_count", 3, 1),
        ("common_pid", 4, 4),
    ]
    assert format.field("x") is format.fields[0]
    assert format.field("common_pid") is None


def test_format_in_an_unknown_form_is_refused() -> None:
    with pytest.raises(FormatError, match="it has no name or no ID"):
        parse_format("sys", "name: x\n")


@pytest.mark.needs_kernel("tracefs")
def test_every_event_of_this_kernel() -> None:
    tracefs = Tracefs.find()
    names = tracefs.names()
    assert len(names) > 1000
    for name in names:
        system, event = name.split(":")
        text = (tracefs.root / "events" / system / event / "format").read_text()
        format = tracefs.format(system, event)
        fields = (*format.common, *format.fields)

        assert format.name == event
        lines = [line for line in text.splitlines() if line.startswith("\tfield:")]
        assert [field.name for field in format.common] == [
            "common_type",
            "common_flags",
            "common_preempt_count",
            "common_pid",
        ]
        assert f"\nprint fmt: {format.print_fmt}\n" in text
        for line, field in zip(lines, fields, strict=True):
            base, bracket, dimensions = field.ctype.partition("[")
            assert line.startswith(f"\tfield:{base}")
            assert re.search(rf"[ *\]]{field.name}[;\[]", line)
            assert f"{bracket}{dimensions}" in line
            assert f"offset:{field.offset};\tsize:{field.size};" in line
            assert field.element_size > 0
            assert field.size % field.element_size == 0 or field.ctype.startswith("__")
            if field.kind in (pb.FIELD_KIND_SIGNED, pb.FIELD_KIND_UNSIGNED):
                assert field.size in (1, 2, 4, 8)
                assert field.signed == (field.kind == pb.FIELD_KIND_SIGNED)
            if field.kind in (pb.FIELD_KIND_DYNAMIC_STRING, pb.FIELD_KIND_DYNAMIC_BYTES):
                assert field.size == 4


def test_names_follow_the_directory(tmp_path: Path) -> None:
    add_event(tmp_path, "b:one")
    add_event(tmp_path, "a:two")
    add_event(tmp_path, "ftrace:function")
    (tmp_path / "events/a/without_id").mkdir()
    (tmp_path / "events/enable").write_text("0")
    tracefs = Tracefs(tmp_path)
    assert tracefs.names() == ["a:two", "b:one"]

    add_event(tmp_path, "a:late")

    assert tracefs.names() == ["a:late", "a:two", "b:one"]


def test_names_are_the_callers_to_change(tmp_path: Path) -> None:
    add_event(tmp_path, "a:one")
    tracefs = Tracefs(tmp_path)

    tracefs.names().clear()

    assert tracefs.names() == ["a:one"]


def test_format_of_an_event_that_came_back_with_another_id(tmp_path: Path) -> None:
    add_event(tmp_path, "a:one", event_id=7)
    tracefs = Tracefs(tmp_path)
    before = tracefs.format("a", "one")
    assert tracefs.format("a", "one") is before

    add_event(tmp_path, "a:one", event_id=8)

    assert tracefs.format("a", "one").id == 8


def test_unknown_event_suggests_the_nearest(tmp_path: Path) -> None:
    add_event(tmp_path, "sched:sched_wakeup")

    with pytest.raises(NotFound) as not_found:
        Tracefs(tmp_path).format("sched", "sched_wakup")

    assert str(not_found.value) == (
        "error: no event 'sched:sched_wakup' (did you mean 'sched:sched_wakeup'?)"
    )


@pytest.mark.parametrize("name", ["../a/one", "one/../one", "", ".", "one\n", "a\x1bb"])
def test_names_do_not_leave_the_directory(tmp_path: Path, name: str) -> None:
    add_event(tmp_path, "a:one")

    with pytest.raises(NotFound):
        Tracefs(tmp_path).format("a", name)


@pytest.mark.parametrize(
    ("mountinfo", "path"),
    [
        (
            "42 23 0:13 / /sys/kernel/tracing rw,relatime - tracefs nodev rw\n",
            "/sys/kernel/tracing",
        ),
        ("42 23 0:13 / /a\\040b rw shared:3 - tracefs tracefs rw\n", "/a b"),
        ("42 23 0:13 /instances/x /x rw - tracefs nodev rw\n", None),
        ("42 23 0:13 / /sys/kernel/debug rw - debugfs tracefs rw\n", None),
        ("", None),
    ],
)
def test_mounted_at(mountinfo: str, path: str | None) -> None:
    assert mounted_at(mountinfo) == (Path(path) if path else None)


def test_tracefs_that_cannot_be_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = tmp_path / "mountinfo"
    empty.write_text("")
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr("ptraced.tracefs._MOUNTINFO", empty)
    monkeypatch.setattr("ptraced.tracefs._MOUNT_POINT", nowhere)

    with pytest.raises(Unavailable) as unavailable:
        Tracefs.find()

    reason = r"(No such file or directory|Operation not permitted)"
    assert re.fullmatch(
        rf"error: tracefs is not mounted and cannot be mounted here \({reason}\): "
        rf"run as root: mount -t tracefs tracefs {nowhere}",
        str(unavailable.value),
    )
