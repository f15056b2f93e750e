"""Capabilities are read from the kernel, and soft limits raised to hard ones."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ptraced.privileges import NEEDED, Capability, effective, has

RAISE = """
import resource
from ptraced.privileges import raise_limits
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
raise_limits()
print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_MEMLOCK))
"""


def test_the_effective_mask_is_read(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nCapPrm:\tff\nCapEff:\t000000c000000004\n")
    mask = effective(tmp_path / "status")
    assert mask == 1 << 39 | 1 << 38 | 1 << 2
    assert all(has(capability, mask) for capability in NEEDED)
    assert not has(Capability.CAP_SYS_ADMIN, mask)


@pytest.mark.parametrize("capability", NEEDED)
def test_sys_admin_stands_in_where_the_kernel_takes_it(capability: Capability) -> None:
    mask = 1 << Capability.CAP_SYS_ADMIN
    assert has(capability, mask) == (capability != Capability.CAP_DAC_READ_SEARCH)


def test_no_capability_without_any() -> None:
    assert not any(has(capability, 0) for capability in Capability)


def test_soft_limits_are_raised_to_hard_ones() -> None:
    done = subprocess.run([sys.executable, "-c", RAISE], capture_output=True, text=True, check=True)
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    expected = (-1, -1) if has(Capability.CAP_SYS_RESOURCE) else (hard, hard)
    assert done.stdout == f"(512, 512) {expected}\n"
