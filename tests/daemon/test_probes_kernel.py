"""Kprobes in selectors: what they resolve to, and what is said of those that cannot be."""

from __future__ import annotations

import errno
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from madeup import make_tracefs

from ptrace_formats.event_format import EventFormat
from ptrace_proto import ptrace_pb2 as pb
from ptraced import perf_event
from ptraced.btf_functions import Prototype
from ptraced.btf_values import Value
from ptraced.errors import LimitExceeded, NotFound, TraceError, Unavailable
from ptraced.origin import Probe, Site
from ptraced.probes import kernel, kernel_functions, registers
from ptraced.probes.refusal import explain_refusal
from ptraced.probes.selector import find_probes

KALLSYMS = """\
ffffffff81000100 T vfs_read
ffffffff81000200 T vfs_write
ffffffff81000300 T vfs_fsync
ffffffff81000400 t do_part.part.0
ffffffff81000500 t twin
ffffffff81000600 t twin
ffffffff81000700 t hidden
ffffffff81000800 T refused
ffffffff81000900 T no_prototype
ffffffff81000940 t no_prototype.cold
ffffffff81000a00 T vfs_fault
ffffffff81000b00 T bpf_get_func_ip_kprobe
ffffffff82000000 D some_data
ffffffffc0000000 t of_module	[driver]
ffffffffc0000100 t bpf_prog_6deef7357e7b4530	[bpf]
"""
TRACEABLE = """\
vfs_read
vfs_write
vfs_fsync
vfs_fault
do_part.part.0
twin
twin
refused
no_prototype
__ftrace_invalid_address___64
of_module [driver]
"""
BLACKLIST = """\
0xffffffff81000800-0xffffffff81000900\trefused
"""
INT = Value("flags", "int", pb.FIELD_KIND_SIGNED, 4, True)
PATH = Value("path", "const char *", pb.FIELD_KIND_POINTER, 8, False)
COUNT = Value("count", "size_t", pb.FIELD_KIND_UNSIGNED, 8, False)
SSIZE = Value("", "ssize_t", pb.FIELD_KIND_SIGNED, 8, True)
PROTOTYPES = {
    "vfs_read": Prototype((PATH, INT, COUNT), SSIZE),
    "vfs_fsync": Prototype((INT,), None),
    "of_module": Prototype((COUNT,), SSIZE),
}
IP = "record[0] = (u64)(bpf_get_func_ip(regs));"


class Kernel:
    """The files that tell of a made-up kernel, and what it says of probes that are tried."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kallsyms = root / "kallsyms"
        self.blacklist = root / "blacklist"
        self.devices = root / "devices"
        self.tracefs = make_tracefs(
            root / "tracing",
            {"syscalls:sys_enter_read": (), "vfs:vfs_fault": (), "sys:some_hidden_thing": ()},
        )
        self.traceable = self.tracefs.root / "available_filter_functions"
        self.kallsyms.write_text(KALLSYMS)
        self.blacklist.write_text(BLACKLIST)
        self.traceable.write_text(TRACEABLE)
        (self.devices / "kprobe").mkdir(parents=True)
        (self.devices / "kprobe" / "type").write_text("8\n")
        self.tried: list[tuple[str, int, bool]] = []
        self.refusals: dict[str, int] = {}
        monkeypatch.setattr(kernel_functions, "_KALLSYMS", self.kallsyms)
        monkeypatch.setattr(kernel_functions, "_BLACKLIST", self.blacklist)
        monkeypatch.setattr(perf_event, "_DEVICES", self.devices)
        monkeypatch.setattr(kernel, "prototypes", self.prototypes)
        monkeypatch.setattr(kernel, "attach_kprobe", self.attach)
        monkeypatch.setattr(kernel, "of_host", lambda: registers.of_machine("x86_64"))

    def prototypes(self, names: list[str], module: str) -> Mapping[str, Prototype]:
        own = {"of_module"} if module == "driver" else PROTOTYPES.keys() - {"of_module"}
        return {name: PROTOTYPES[name] for name in names if name in own}

    def attach(self, symbol: str, offset: int, returns: bool, program: int, cpu: int) -> int:
        assert program == -1
        self.tried.append((symbol, offset, returns))
        number = self.refusals.get(symbol, errno.EBADF)
        raise OSError(number, os.strerror(number))

    def find(
        self, event: str, strings: Mapping[str, int] | None = None, most: int = 100, text: str = ""
    ) -> list[tuple[EventFormat, Probe]]:
        return find_probes(
            event, text or event, strings or {}, tracefs=self.tracefs, most=most, pids=()
        )

    def one(self, event: str, strings: Mapping[str, int] | None = None) -> tuple[EventFormat, Site]:
        ((format, probe),) = self.find(event, strings)
        assert probe.file is None
        assert probe.returns == (format.system == "kretprobe")
        (site,) = probe.sites
        return format, site


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def names(format: EventFormat) -> list[str]:
    return [field.name for field in format.fields]


def test_a_kprobe_has_typed_arguments(made_up: Kernel) -> None:
    format, site = made_up.one("kprobe:vfs_read")

    assert (format.system, format.name, format.id, format.common) == ("kprobe", "vfs_read", 0, ())
    assert [
        (field.ctype, field.name, field.kind, field.offset, field.size, field.signed)
        for field in format.fields
    ] == [
        ("unsigned long", "ip", pb.FIELD_KIND_POINTER, 0, 8, False),
        ("const char *", "path", pb.FIELD_KIND_POINTER, 8, 8, False),
        ("int", "flags", pb.FIELD_KIND_SIGNED, 16, 4, True),
        ("size_t", "count", pb.FIELD_KIND_UNSIGNED, 24, 8, False),
    ]
    assert site == Site(
        offset=0,
        symbol="vfs_read",
        record=f"{IP} record[1] = (u64)(regs->di); record[2] = (u64)(regs->si); "
        "record[3] = (u64)(regs->dx);",
    )
    assert not made_up.tried


def test_a_kretprobe_has_a_typed_value(made_up: Kernel) -> None:
    format, site = made_up.one("kretprobe:vfs_read")

    assert [(field.ctype, field.name) for field in format.fields] == [
        ("unsigned long", "ip"),
        ("unsigned long", "func"),
        ("ssize_t", "ret"),
    ]
    assert site.record == (
        "record[0] = (u64)(regs->ip); record[1] = (u64)(bpf_get_func_ip(regs)); "
        "record[2] = (u64)(regs->ax);"
    )


def test_a_function_that_returns_nothing_has_no_ret(made_up: Kernel) -> None:
    assert names(made_up.one("kretprobe:vfs_fsync")[0]) == ["ip", "func"]


def test_without_prototype_there_are_registers(made_up: Kernel) -> None:
    entry, _ = made_up.one("kprobe:no_prototype")
    left, _ = made_up.one("kretprobe:no_prototype")

    assert names(entry) == ["ip", "arg1", "arg2", "arg3", "arg4", "arg5", "arg6"]
    assert [(field.ctype, field.name) for field in left.fields[2:]] == [("long", "ret")]


def test_a_split_off_part_has_a_place_only(made_up: Kernel) -> None:
    format, _ = made_up.one("kprobe:no_prototype.cold")

    assert names(format) == ["ip"]


def test_a_function_of_a_module_has_its_own_prototype(made_up: Kernel) -> None:
    assert names(made_up.one("kprobe:of_module")[0]) == ["ip", "count"]


@pytest.mark.parametrize("typed", ["+0x10", "+16", "+0X10", "+016"])
def test_inside_of_a_function_there_is_the_place_only(made_up: Kernel, typed: str) -> None:
    format, site = made_up.one(f"kprobe:vfs_read{typed}")

    assert (format.name, names(format)) == ("vfs_read+0x10", ["ip"])
    # int3 is one byte.
    assert site == Site(16, "record[0] = (u64)(regs->ip - 1);", "vfs_read")
    assert made_up.tried == [("vfs_read", 16, False)]


@pytest.mark.parametrize("digits", ["9" * 4000, "9" * 20, "0x" + "f" * 4000])
def test_numbers_without_end_are_refused(made_up: Kernel, digits: str) -> None:
    # Also where no list tells how long functions are.
    for symbols in (KALLSYMS, ""):
        made_up.kallsyms.write_text(symbols)
        with pytest.raises(TraceError, match=r"^error: no function has as many bytes: "):
            made_up.find(f"kprobe:vfs_read+{digits}")


def test_names_without_end_are_refused(made_up: Kernel) -> None:
    name = "a" * 4097
    for event, what in (
        (f"kprobe:{name}", "function"),
        (f"uprobe:{name}@libc.so.6", "symbol"),
        (f"usdt:{name}@libc.so.6", "probe"),
    ):
        with pytest.raises(TraceError) as caught:
            made_up.find(event)
        assert str(caught.value).splitlines()[0] == (
            f"error: no {what}'s name has more than 4096 characters"
        )


def test_an_address_may_be_a_functions(made_up: Kernel) -> None:
    format, site = made_up.one("kprobe:0xffffffff81000100")

    assert (format.name, names(format)) == ("0xffffffff81000100", ["ip", "path", "flags", "count"])
    assert (site.symbol, site.offset) == ("", 0xFFFFFFFF81000100)
    assert made_up.tried == [("", 0xFFFFFFFF81000100, False)]


def test_an_address_in_the_middle_has_the_place_only(made_up: Kernel) -> None:
    assert names(made_up.one("kprobe:0xFFFFFFFF81000104")[0]) == ["ip"]


def test_a_kernel_without_the_helper_for_functions(made_up: Kernel) -> None:
    made_up.kallsyms.write_text(KALLSYMS.replace("bpf_get_func_ip_kprobe", "something"))

    entry, site = made_up.one("kprobe:vfs_read")
    left, _ = made_up.one("kretprobe:vfs_read")

    assert names(entry) == ["ip", "path", "flags", "count"]
    assert site.record.startswith("record[0] = (u64)(regs->ip - 1);")
    assert names(left) == ["ip", "ret"]


def test_a_glob_is_for_what_can_be_probed(made_up: Kernel) -> None:
    found = made_up.find("kprobe:*")

    assert [format.name for format, _ in found] == [
        "do_part.part.0",
        "no_prototype",
        "of_module",
        "vfs_fault",
        "vfs_fsync",
        "vfs_read",
        "vfs_write",
    ]
    assert names(found[2][0]) == ["ip", "count"]
    assert names(found[5][0]) == ["ip", "path", "flags", "count"]
    assert not made_up.tried


def test_a_glob_without_ftraces_list_goes_over_all_code(made_up: Kernel) -> None:
    made_up.traceable.unlink()

    found = [format.name for format, _ in made_up.find("kretprobe:[!dhtbv]*")]

    assert found == ["no_prototype", "no_prototype.cold", "of_module"]


def test_a_request_sees_the_lists_as_they_were_when_it_came(made_up: Kernel) -> None:
    with kernel_functions.read_once():
        made_up.one("kprobe:vfs_read")
        made_up.kallsyms.unlink()
        made_up.one("kprobe:vfs_write")

    made_up.one("kprobe:vfs_write")
    assert made_up.tried == [("vfs_write", 0, False)]


def test_where_symbols_are_hidden_the_kernel_is_asked(made_up: Kernel) -> None:
    made_up.kallsyms.write_text("")
    made_up.refusals["no_such"] = errno.ENOENT

    made_up.one("kretprobe:vfs_read")
    with pytest.raises(Unavailable) as caught:
        made_up.one("kprobe:no_such")

    assert made_up.tried == [("vfs_read", 0, True), ("no_such", 0, False)]
    assert str(caught.value) == (
        "error: the kernel refuses 'no_such': it has no such function, or no longer: a "
        "module may have been unloaded (ENOENT)\n  kprobe:no_such\n         ^~~~~~~"
    )


def test_what_the_lists_leave_open_is_tried(made_up: Kernel) -> None:
    made_up.blacklist.unlink()

    made_up.one("kretprobe:vfs_read")

    assert made_up.tried == [("vfs_read", 0, True)]


@pytest.mark.parametrize(
    ("event", "error", "message", "place"),
    [
        (
            "kprobe:vfs_raed",
            NotFound,
            "the kernel has no function 'vfs_raed' (did you mean 'vfs_read' or 'vfs_write'?)",
            "vfs_raed",
        ),
        (
            "kprobe:xyzzy",
            NotFound,
            "the kernel has no function 'xyzzy': it may be inlined, or not be built into this "
            "kernel",
            "xyzzy",
        ),
        (
            "kprobe:do_part",
            NotFound,
            "the kernel has no function 'do_part', but what the compiler made of it: "
            "'do_part.part.0'",
            "do_part",
        ),
        ("kprobe:some_data", TraceError, "'some_data' is data, no function", "some_data"),
        (
            "kretprobe:twin",
            TraceError,
            "2 functions are called 'twin': say which by its address, "
            "'kretprobe:0xffffffff81000500' or 'kretprobe:0xffffffff81000600'",
            "twin",
        ),
        (
            "kprobe:refused",
            Unavailable,
            "'refused' is on the kernel's blacklist of functions that kprobes rely on",
            "refused",
        ),
        (
            "kprobe:vfs_read+0x100",
            TraceError,
            "'vfs_read' has 0x100 bytes at most: 0x100 is beyond its end",
            "+0x100",
        ),
        (
            "kprobe:vfs_read+0x80000000",
            TraceError,
            "no function has as many bytes: an offset is 0x7fffffff at most",
            "+0x80000000",
        ),
        (
            "kretprobe:vfs_read+0",
            TraceError,
            "a function returns as a whole: kretprobe takes no offset",
            "+0",
        ),
        (
            "kprobe:vfs_*+4",
            TraceError,
            "an offset is a number of bytes behind the name of one function: vfs_read+0x10",
            "+4",
        ),
        ("kprobe:a b", TraceError, "'a b' is no name of a kernel function", "a b"),
        ("kprobe:é", TraceError, "'é' is no name of a kernel function", "é"),
        ("kprobe:0x", TraceError, "'0x' is no name of a kernel function", "0x"),
        ("kprobe:zz*", NotFound, "no function that can be probed matches 'zz*'", "zz*"),
        ("kprobe: 'zz?' ", NotFound, "no function that can be probed matches 'zz?'", "zz?"),
    ],
)
def test_what_cannot_be_probed(
    made_up: Kernel, event: str, error: type[TraceError], message: str, place: str
) -> None:
    with pytest.raises(error) as caught:
        made_up.find(event)

    assert type(caught.value) is error
    caret = " " * event.index(place) + "^" + "~" * (len(place) - 1)
    assert str(caught.value) == f"error: {message}\n  {event}\n  {caret}"
    assert not made_up.tried


@pytest.mark.parametrize(
    ("symbol", "number", "reason"),
    [
        ("hidden", errno.EINVAL, "it is marked notrace; the tracepoint 'sys:some_hidden_thing' "),
        ("hidden", errno.EADDRNOTAVAIL, "it has several functions of that name "),
        ("vfs_read+0x3", errno.EILSEQ, "no instruction starts there, "),
        ("vfs_read+0x3", errno.EPERM, "it is locked down "),
        ("vfs_read+0x3", errno.EIO, "Input/output error (EIO)"),
    ],
)
def test_what_the_kernel_refuses(made_up: Kernel, symbol: str, number: int, reason: str) -> None:
    made_up.refusals[symbol.partition("+")[0]] = number

    with pytest.raises(Unavailable) as caught:
        made_up.find(f"kprobe:{symbol}")

    first, line, caret = str(caught.value).splitlines()
    assert first.startswith(f"error: the kernel refuses '{symbol}': {reason}")
    assert (line, caret) == (f"  kprobe:{symbol}", f"         ^{'~' * (len(symbol) - 1)}")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "the daemon lacks CAP_PERFMON (EACCES)"),
        (
            errno.EADDRNOTAVAIL,
            "it has several functions of that name and cannot tell them apart (EADDRNOTAVAIL)",
        ),
        (errno.EIO, "Input/output error (EIO)"),
    ],
)
def test_what_the_kernel_refuses_later(made_up: Kernel, number: int, reason: str) -> None:
    ((format, probe),) = made_up.find("kretprobe:vfs_read")

    text = explain_refusal(format, probe, OSError(number, os.strerror(number)))

    assert text == f"error: the kernel refuses kretprobe:vfs_read: {reason}"


def test_hidden_addresses_leave_twins_without_a_way_out(made_up: Kernel) -> None:
    made_up.kallsyms.write_text(re.sub("^f{8}.{8}", "0" * 16, KALLSYMS, flags=re.MULTILINE))

    with pytest.raises(TraceError) as caught:
        made_up.find("kprobe:twin")
    # The kernel has to say what the end of the function is.
    made_up.one("kprobe:vfs_read+0x5000")

    assert str(caught.value) == (
        "error: 2 functions are called 'twin', which the kernel cannot tell apart by name\n"
        "  kprobe:twin\n         ^~~~"
    )
    assert made_up.tried == [("vfs_read", 0x5000, False)]


def test_more_functions_than_may_be(made_up: Kernel) -> None:
    with pytest.raises(LimitExceeded) as caught:
        made_up.find("kprobe:vfs_*", most=3)

    assert str(caught.value) == (
        "error: 4 functions match 'vfs_*', at most 3 can be probed\n  kprobe:vfs_*\n         ^~~~~"
    )
    assert len(made_up.find("kprobe:vfs_*", most=4)) == 4


@pytest.mark.parametrize(
    ("event", "hint"),
    [
        ("kprobe:vfs_read", "the tracepoint 'syscalls:sys_enter_read' may do"),
        ("kprobe:__x64_sys_read+4", "the tracepoint 'syscalls:sys_enter_read' may do"),
        ("kretprobe:vfs_fault", "the tracepoint 'vfs:vfs_fault' may do"),
        ("kprobe:hidden_thing", "the tracepoint 'sys:some_hidden_thing' may do"),
        ("kprobe:idden", "tracepoints (sys:name) are there"),
        ("kprobe:*", "tracepoints (sys:name) are there"),
    ],
)
def test_a_kernel_without_kprobes(made_up: Kernel, event: str, hint: str) -> None:
    (made_up.devices / "kprobe" / "type").unlink()

    with pytest.raises(Unavailable) as caught:
        made_up.find(event)

    kind = event.partition(":")[0]
    assert str(caught.value) == (
        f"error: this kernel has no kprobes (CONFIG_KPROBES is off); {hint}\n"
        f"  {event}\n  ^{'~' * (len(kind) - 1)}"
    )


def test_a_text_argument(made_up: Kernel) -> None:
    for name in ("path", "arg1"):
        format, site = made_up.one("kprobe:vfs_read", {name: 64})

        field = format.field("path")
        assert field is not None
        assert (field.kind, field.offset, field.size) == (pb.FIELD_KIND_DYNAMIC_STRING, 8, 8)
        assert (field.ctype, field.pointed) == ("const char *", 64)
        assert "record[1] = (u64)(regs->di);" in site.record


def test_a_register_may_lead_to_text(made_up: Kernel) -> None:
    format, _ = made_up.one("kprobe:no_prototype", {"arg3": 64})

    assert [field.name for field in format.fields if field.pointed] == ["arg3"]


@pytest.mark.parametrize(
    ("event", "name", "message"),
    [
        ("kprobe:vfs_read", "pth", "no argument 'pth' (did you mean 'path'?)"),
        ("kprobe:vfs_read", "xyz", "no argument 'xyz' (there are path, flags, count)"),
        ("kprobe:vfs_read", "arg4", "no argument 'arg4' (there are path, flags, count)"),
        ("kprobe:vfs_read", "ip", "no argument 'ip' (there are path, flags, count)"),
        ("kprobe:vfs_read", "flags", "'flags' is no pointer but int: it leads to no text"),
        ("kprobe:vfs_read+4", "path", "this probe has no arguments: str=path means nothing"),
        ("kretprobe:vfs_read", "path", "no argument 'path' (there are ret)"),
    ],
)
def test_what_is_no_text(made_up: Kernel, event: str, name: str, message: str) -> None:
    text = f"{event}/ip > 0/str={name}:64/"

    with pytest.raises(TraceError) as caught:
        made_up.find(event, {name: 64}, text=text)

    caret = " " * (text.index("str=") + 4) + "^" + "~" * (len(name) - 1)
    assert str(caught.value) == f"error: {message}\n  {text}\n  {caret}"


@pytest.mark.parametrize(
    ("event", "message", "at"),
    [
        ("kprobe:", "a function is missing here: kprobe:vfs_read", 7),
        ("kretprobe", "a function is missing here: kretprobe:vfs_read", 9),
        (
            "uprobe:malloc",
            'a file is missing here: uprobe:malloc@"/lib/x86_64-linux-gnu/libc.so.6"',
            13,
        ),
        (
            'uprobe:malloc@""',
            'a file is missing here: uprobe:malloc@"/lib/x86_64-linux-gnu/libc.so.6"',
            16,
        ),
        (
            'uretprobe:@"/bin/true"',
            'a symbol is missing here: uretprobe:malloc@"/lib/x86_64-linux-gnu/libc.so.6"',
            10,
        ),
        (
            'usdt:@"/bin/true"',
            'a probe is missing here: usdt:libc:setjmp@"/lib/x86_64-linux-gnu/libc.so.6"',
            5,
        ),
    ],
)
def test_what_is_missing(made_up: Kernel, event: str, message: str, at: int) -> None:
    with pytest.raises(TraceError) as caught:
        made_up.find(event)

    assert str(caught.value) == f"error: {message}\n  {event}\n  {' ' * at}^"


@pytest.mark.parametrize(
    ("event", "target", "path"),
    [
        ('uprobe:main@"/a b/c"', "main", "/a b/c"),
        ("uprobe:main @ '/a\"b'", "main", '/a"b'),
        ("uprobe:main@libc.so.6", "main", "libc.so.6"),
        ('uprobe:memcpy@GLIBC_2.14@"/lib/libc.so"', "memcpy@GLIBC_2.14", "/lib/libc.so"),
        ('uprobe:"f(int, char)"@"/x@y"', "f(int, char)", "/x@y"),
        ('usdt:libc:setjmp@"/x"', "libc:setjmp", "/x"),
    ],
)
def test_what_goes_to_probes_of_files(
    made_up: Kernel, monkeypatch: pytest.MonkeyPatch, event: str, target: str, path: str
) -> None:
    asked = []

    def find(*words: object, **options: object) -> list[tuple[EventFormat, Probe]]:
        asked.append((words, options))
        return []

    monkeypatch.setattr("ptraced.probes.selector.find_user_probes", find)

    find_probes(event, event, {"a": 8}, tracefs=made_up.tracefs, most=7, pids=(1, 2))

    kind = event.partition(":")[0]
    assert asked == [
        ((kind, target, path, event, {"a": 8}), {"most": 7, "pids": (1, 2), "grant": None})
    ]


def test_machines_whose_registers_are_unknown() -> None:
    with pytest.raises(Unavailable) as caught:
        registers.of_machine("riscv64")

    assert str(caught.value) == (
        "error: probes are not available on riscv64, only on x86_64 and aarch64: which registers "
        "hold arguments is not known"
    )
    assert registers.of_host() == registers.of_machine(platform.machine())


@pytest.mark.parametrize(
    ("machine", "name", "value"),
    [
        ("x86_64", "rdi", "regs->di"),
        ("x86_64", "edi", "regs->di"),
        ("x86_64", "dil", "regs->di"),
        ("x86_64", "ah", "(regs->ax >> 8)"),
        ("x86_64", "r10d", "regs->r10"),
        ("x86_64", "esp", "regs->sp"),
        ("aarch64", "x19", "regs->regs[19]"),
        ("aarch64", "w0", "regs->regs[0]"),
        ("aarch64", "sp", "regs->sp"),
    ],
)
def test_names_of_registers(machine: str, name: str, value: str) -> None:
    assert registers.of_machine(machine).named[name] == value
