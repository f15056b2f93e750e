"""Prototypes of kernel functions: of the running kernel, and of blobs made here."""

from __future__ import annotations

import functools
import json
import re
import struct
import subprocess
from pathlib import Path

import pytest

from ptrace_proto import ptrace_pb2 as pb
from ptraced import btf_functions
from ptraced.btf_functions import Prototype, prototypes
from ptraced.btf_types import (
    ARRAY,
    CONST,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VOLATILE,
)
from ptraced.btf_values import Value
from ptraced.errors import Unavailable

SIGNED, BOOL = 1 << 24, 4 << 24


class Blob:
    """BTF that is put together type by type; ids count from 1, or on from those of `base`."""

    def __init__(self, base: Blob | None = None) -> None:
        self.first = base.first + base.count if base else 1
        self.count = 0
        self._strings_before = len(base.texts) + base._strings_before if base else 0
        self._base = base
        self.texts = b"" if base else b"\0"
        self._types = b""

    def add(
        self,
        kind: int,
        name: str,
        link: int,
        behind: bytes = b"",
        length: int = 0,
        flag: bool = False,
    ) -> int:
        head = struct.pack("<III", self.text(name), flag << 31 | kind << 24 | length, link)
        self._types += head + behind
        self.count += 1
        return self.first + self.count - 1

    def text(self, text: str) -> int:
        """The number of a text, which is kept once."""
        if not text:
            return 0
        for blob in filter(None, (self._base, self)):
            at = (b"\0" + blob.texts).find(b"\0" + text.encode() + b"\0")
            if at >= 0:
                return blob._strings_before + at
        self.texts += text.encode() + b"\0"
        return self._strings_before + len(self.texts) - len(text.encode()) - 1

    def integer(self, name: str, size: int, encoding: int = 0) -> int:
        return self.add(INT, name, size, struct.pack("<I", encoding))

    def prototype(self, returned: int, *parameters: tuple[str, int]) -> int:
        behind = b"".join(struct.pack("<II", self.text(name), id) for name, id in parameters)
        return self.add(FUNC_PROTO, "", returned, behind, len(parameters))

    def function(self, name: str, returned: int, *parameters: tuple[str, int]) -> int:
        return self.add(FUNC, name, self.prototype(returned, *parameters))

    def array(self, element: int, count: int) -> int:
        return self.add(ARRAY, "", 0, struct.pack("<III", element, 0, count))

    @property
    def data(self) -> bytes:
        sizes = (0, len(self._types), len(self._types), len(self.texts))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + self._types + self.texts


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the BTF of the kernel and of its modules is taken to be."""
    monkeypatch.setattr(btf_functions, "_DIRECTORY", tmp_path)
    return tmp_path


def parameter(blob: Blob, id: int, directory: Path) -> Value:
    """What the only parameter of a function is, whose type is `id`."""
    blob.function("probe", 0, ("x", id))
    (directory / "vmlinux").write_bytes(blob.data)
    (value,) = prototypes(["probe"])["probe"].parameters
    return value


@pytest.mark.parametrize(
    ("name", "size", "encoding", "ctype", "kind"),
    [
        ("int", 4, SIGNED, "int", pb.FIELD_KIND_SIGNED),
        ("unsigned char", 1, 0, "unsigned char", pb.FIELD_KIND_UNSIGNED),
        ("long unsigned int", 8, 0, "unsigned long", pb.FIELD_KIND_UNSIGNED),
        ("long int", 8, SIGNED, "long", pb.FIELD_KIND_SIGNED),
        ("short unsigned int", 2, 0, "unsigned short", pb.FIELD_KIND_UNSIGNED),
        ("_Bool", 1, BOOL, "bool", pb.FIELD_KIND_BOOL),
        ("__int128", 16, SIGNED, "__int128", pb.FIELD_KIND_BYTES),
    ],
)
def test_integers(
    directory: Path, name: str, size: int, encoding: int, ctype: str, kind: pb.FieldKind
) -> None:
    blob = Blob()

    value = parameter(blob, blob.integer(name, size, encoding), directory)

    assert (value.name, value.ctype, value.kind, value.size) == ("x", ctype, kind, size)
    assert value.signed == bool(encoding & SIGNED and size <= 8)


def test_other_values(directory: Path) -> None:
    blob = Blob()
    plain = blob.integer("int", 4, SIGNED)
    cases = {
        blob.add(ENUM, "small", 1): ("enum small", pb.FIELD_KIND_UNSIGNED, 1, False),
        blob.add(ENUM, "", 4, flag=True): ("enum {...}", pb.FIELD_KIND_SIGNED, 4, True),
        blob.add(ENUM64, "large", 8): ("enum large", pb.FIELD_KIND_UNSIGNED, 8, False),
        blob.add(STRUCT, "pair", 16): ("struct pair", pb.FIELD_KIND_BYTES, 16, False),
        blob.add(UNION, "", 8): ("union {...}", pb.FIELD_KIND_BYTES, 8, False),
        blob.add(FLOAT, "double", 8): ("double", pb.FIELD_KIND_UNSPECIFIED, 8, False),
        blob.add(TYPEDEF, "pid_t", blob.add(TYPEDEF, "__pid_t", plain)): (
            "pid_t",
            pb.FIELD_KIND_SIGNED,
            4,
            True,
        ),
        blob.add(CONST, "", blob.add(VOLATILE, "", plain)): (
            "const volatile int",
            pb.FIELD_KIND_SIGNED,
            4,
            True,
        ),
    }
    for id, expected in cases.items():
        value = parameter(blob, id, directory)
        assert (value.ctype, value.kind, value.size, value.signed) == expected
        blob.function("probe", 0)
        blob = blob_without_probe(blob)


def blob_without_probe(blob: Blob) -> Blob:
    """Two functions of one name would be none: the names of earlier ones are changed."""
    blob.texts = blob.texts.replace(b"probe\0", b"older\0")
    return blob


def test_pointers(directory: Path) -> None:
    blob = Blob()
    char = blob.integer("char", 1, SIGNED)
    file = blob.add(FWD, "file", 0)
    strings = blob.add(PTR, "", blob.add(CONST, "", char))
    tagged = blob.add(PTR, "", blob.add(TYPE_TAG, "user", char))
    callback = blob.add(PTR, "", blob.prototype(0, ("", strings), ("", 0)))
    nothing = blob.add(PTR, "", blob.prototype(char))
    array = blob.add(PTR, "", blob.array(char, 16))
    restrict = blob.add(RESTRICT, "", blob.add(PTR, "", 0))
    blob.function(
        "probe",
        blob.add(PTR, "", file),
        ("void", blob.add(PTR, "", 0)),
        ("string", strings),
        ("fixed", blob.add(CONST, "", strings)),
        ("user", tagged),
        ("callback", callback),
        ("nothing", nothing),
        ("array", array),
        ("restrict", restrict),
        ("list", blob.add(PTR, "", strings)),
    )
    (directory / "vmlinux").write_bytes(blob.data)

    found = prototypes(["probe"])["probe"]

    assert [value.ctype for value in found.parameters] == [
        "void *",
        "const char *",
        "const char *const",
        "char *",
        "void (*)(const char *, ...)",
        "char (*)(void)",
        "char (*)[16]",
        "void *restrict",
        "const char **",
    ]
    assert {(value.kind, value.size) for value in found.parameters} == {(pb.FIELD_KIND_POINTER, 8)}
    assert found.returned == Value("", "struct file *", pb.FIELD_KIND_POINTER, 8, False)


def test_what_follows_the_named_parameters_is_left_out(directory: Path) -> None:
    blob = Blob()
    plain = blob.integer("int", 4, SIGNED)
    blob.function("printk", blob.add(CONST, "", 0), ("level", plain), ("", 0))
    (directory / "vmlinux").write_bytes(blob.data)

    assert prototypes(["printk"]) == {
        "printk": Prototype((Value("level", "int", pb.FIELD_KIND_SIGNED, 4, True),), None)
    }


def test_functions_of_one_name(directory: Path) -> None:
    blob = Blob()
    plain, short = blob.integer("int", 4), blob.integer("short", 2)
    for name, second in (("alike", plain), ("apart", short)):
        blob.function(name, plain, ("x", plain))
        blob.function(name, plain, ("x", second))
    blob.add(STRUCT, "structure", 4)
    (directory / "vmlinux").write_bytes(blob.data)

    assert list(prototypes(["alike", "apart", "structure", "nowhere", "alik"])) == ["alike"]


def test_a_modules_types_continue_the_kernels(directory: Path) -> None:
    kernel = Blob()
    plain = kernel.integer("int", 4, SIGNED)
    kernel.function("in_kernel", plain, ("shared", plain))
    module = Blob(kernel)
    # It begins the module's strings.
    module.text("in_module")
    own = module.add(STRUCT, "own_type", 4)
    module.function("in_module", plain, ("shared", plain), ("its_own", module.add(PTR, "", own)))
    (directory / "vmlinux").write_bytes(kernel.data)
    (directory / "driver").write_bytes(module.data)

    found = prototypes(["in_module", "in_kernel"], "driver")

    assert [(value.name, value.ctype) for value in found["in_module"].parameters] == [
        ("shared", "int"),
        ("its_own", "struct own_type *"),
    ]
    assert list(found) == ["in_module"]
    many = [f"no_function_{number}" for number in range(100)]
    assert prototypes(["in_module", *many], "driver") == found
    assert list(prototypes(["in_module", "in_kernel"])) == ["in_kernel"]


def test_a_module_that_was_built_anew_is_read_anew(directory: Path) -> None:
    for name in ("first", "other_one"):
        blob = Blob()
        blob.function(name, 0)
        (directory / "vmlinux").write_bytes(blob.data)

        assert list(prototypes(["first", "other_one"])) == [name]


def test_there_may_be_no_btf(directory: Path) -> None:
    assert prototypes(["vfs_read"]) == {}

    (directory / "vmlinux").write_bytes(Blob().data)

    assert prototypes(["vfs_read"], "driver") == {}


def broken() -> dict[str, tuple[bytes, str]]:
    whole = Blob()
    plain = whole.integer("int", 4)
    whole.function("probe", plain, ("x", plain))
    endless = Blob()
    endless.function("probe", 0, ("x", endless.add(TYPEDEF, "x", endless.first + endless.count)))
    missing = Blob()
    missing.function("probe", 77)
    no_value = Blob()
    no_value.function("probe", 0, ("x", no_value.prototype(0)))
    no_prototype = Blob()
    no_prototype.add(FUNC, "probe", no_prototype.integer("int", 4))
    return {
        "other byte order": (b"\xeb\x9f" + bytes(40), "not BTF of this machine's byte order"),
        "short header": (whole.data[:20], "not BTF of this machine's byte order"),
        "cut types": (whole.data[:50], "truncated BTF"),
        "cut strings": (whole.data[:-3], "truncated BTF"),
        "endless": (endless.data, "BTF types without an end"),
        "missing type": (missing.data, "BTF has no type 77"),
        "no value": (no_value.data, "BTF type 1 is no value's"),
        "no prototype": (no_prototype.data, "BTF type 1 is no function's"),
    }


@pytest.mark.parametrize("case", broken())
def test_broken_btf_is_told(directory: Path, case: str) -> None:
    data, reason = broken()[case]
    (directory / "vmlinux").write_bytes(data)

    with pytest.raises(Unavailable) as caught:
        prototypes(["probe"])

    path = directory / "vmlinux"
    assert str(caught.value) == f"error: cannot read the kernel's BTF in {path}: {reason}"


@functools.cache
def declarations() -> dict[str, str]:
    """The functions of this kernel that are there once, as bpftool declares them in C."""
    said = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"],
        check=True,
        capture_output=True,
    )
    types = {one["id"]: one for one in json.loads(said.stdout)["types"]}
    found: dict[str, str] = {}
    for one in types.values():
        if one["kind"] == "FUNC":
            taken = [parameter["name"] for parameter in types[one["type_id"]]["params"]]
            text = ", ".join(name for name in taken if name != "(anon)")
            found[one["name"]] = text if one["name"] not in found else "several"
    return found


@pytest.mark.needs_kernel("BTF")
def test_parameters_of_all_functions_are_named_as_bpftool_says() -> None:
    expected = {name: text for name, text in declarations().items() if text != "several"}

    found = prototypes(expected.keys())

    assert {
        name: ", ".join(value.name for value in prototype.parameters if value.name)
        for name, prototype in found.items()
    } == expected
    assert len(found) > 10000


@pytest.mark.needs_kernel("BTF")
@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("vfs_read", r"ssize_t \(struct file \*, char \*, size_t, loff_t \*\)"),
        ("tcp_v4_connect", r"int \(struct sock \*, struct sockaddr\w* \*, int\)"),
        ("do_sys_openat2", r"(int|long) \(int, const char \*, struct open_how \*\)"),
        ("vfs_fsync", r"int \(struct file \*, int\)"),
        ("kfree", r"void \(const void \*\)"),
        ("request_threaded_irq", r"int \(unsigned int, irq_handler_t, irq_handler_t, .*\)"),
    ],
)
def test_types_of_functions_that_all_kernels_have(name: str, pattern: str) -> None:
    found = prototypes([name])[name]

    returned = found.returned.ctype if found.returned else "void"
    text = f"{returned} ({', '.join(value.ctype for value in found.parameters)})"
    assert re.fullmatch(pattern, text), text
