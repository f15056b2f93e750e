"""The machine has what the host's kernel may lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ptraced import bpf_trampoline
from ptraced.check import checks
from ptraced.config import Config
from vm.host_plugin import FEATURES


@pytest.mark.needs_kernel("kprobes", "BPF trampolines")
def test_it_has_what_tests_are_told() -> None:
    assert Path("/run/vm/command").exists()
    lacking = {check.name for check in checks(Config()) if check.state != "ok"}
    assert FEATURES & lacking == set()


@pytest.mark.needs_kernel("BPF trampolines")
def test_a_program_hangs_on_the_entry_of_a_function() -> None:
    bpf_trampoline.try_trampoline()
