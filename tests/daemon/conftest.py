"""What tests of the daemon's modules share."""

from __future__ import annotations

import pytest
from sampledselectors import SETTINGS, SamplingKernel

from ptraced.probes import user
from ptraced.sampling import attr


@pytest.fixture
def kernel_with_uprobes(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Lets user probes be looked for, whatever the kernel has."""
    device = tmp_path_factory.mktemp("device") / "type"
    device.touch()
    monkeypatch.setattr(user, "_DEVICE", device)


@pytest.fixture
def sampling_kernel(monkeypatch: pytest.MonkeyPatch) -> SamplingKernel:
    """A kernel without a PMU that takes every event, until a test says otherwise."""
    made = SamplingKernel()
    monkeypatch.setattr(attr, "try_open", made.try_open)
    monkeypatch.setattr(attr, "try_count", made.try_count)
    monkeypatch.setattr(attr, "has_hardware", lambda: made.hardware)
    monkeypatch.setattr(attr, "setting", SETTINGS.__getitem__)
    return made
