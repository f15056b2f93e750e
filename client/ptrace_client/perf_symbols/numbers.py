"""NumPy without the threads that its linear algebra starts, which nothing here has a use for."""

from __future__ import annotations

import os
import sys
from typing import Final

# Of OpenBLAS, which reads it when it is loaded: each thread looks for work a while, at full speed.
_THREADS: Final = "OPENBLAS_NUM_THREADS"


def load_numpy() -> None:
    """Import NumPy, if that has not been done, and leave the environment as it was."""
    if "numpy" in sys.modules or _THREADS in os.environ:
        return
    os.environ[_THREADS] = "1"
    try:
        import numpy  # noqa: F401
    finally:
        del os.environ[_THREADS]
