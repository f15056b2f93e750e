"""What tests of the daemon's modules share."""

from __future__ import annotations

import pytest

from ptraced.probes import user


@pytest.fixture
def kernel_with_uprobes(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Lets user probes be looked for, whatever the kernel has."""
    device = tmp_path_factory.mktemp("device") / "type"
    device.touch()
    monkeypatch.setattr(user, "_DEVICE", device)
