"""perf_config_get(): settings of perf's configuration files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ptrace_client.perf_script import perf_config
from ptrace_client.perf_script.context import perf_config_get


@pytest.fixture(autouse=True)
def no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    system, own = tmp_path / "system", tmp_path / "own"
    monkeypatch.setattr(perf_config, "_SYSTEM", system)
    monkeypatch.setenv("PERF_CONFIG", str(own))
    perf_config._settings.cache_clear()
    yield tmp_path
    perf_config._settings.cache_clear()


def test_own_settings_go_before_the_hosts(tmp_path: Path) -> None:
    (tmp_path / "system").write_text("[annotate]\n\tobjdump = llvm\n\tdemangle = no\n")
    (tmp_path / "own").write_text(
        "# a comment\n[annotate]\n\tobjdump = /opt/objdump # mine\n[report]\nchildren\n"
    )
    assert perf_config_get("annotate.objdump") == "/opt/objdump"
    assert perf_config_get("annotate.demangle") == "no"
    assert perf_config_get("report.children") == "true"
    assert perf_config_get("report.missing") is None
    assert perf_config_get("nothing") is None


@pytest.mark.parametrize("content", [b"", b"no section\n", b"[half\n", b"\xff\xfe\0[a]\nb=c"])
def test_a_damaged_file_has_no_settings(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own").write_bytes(content)
    assert perf_config_get("a.c") is None


def test_a_name_is_a_text() -> None:
    with pytest.raises(TypeError):
        perf_config_get(5)  # type: ignore[arg-type]
