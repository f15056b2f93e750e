"""Recordings by real perf, which is what this folder's tests compare with."""

from __future__ import annotations

import pytest
from recordings import Recorder

from ptraced.tracefs import Tracefs


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """Returns the path of a recording by its name in RECORDINGS: `recording("syscalls")`."""
    Tracefs.find()
    return Recorder(tmp_path_factory.mktemp("recordings"))
