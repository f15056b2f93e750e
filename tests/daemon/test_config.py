"""The configuration has a default for everything, and names the place of every mistake."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ptraced.config import (
    Config,
    Limits,
    Server,
    default_buffer_pages,
    load_config,
    parse_config,
)
from ptraced.config_values import format_size
from ptraced.errors import TraceError


def refused(text: str) -> str:
    with pytest.raises(TraceError) as caught:
        parse_config(text, "p.toml")
    return str(caught.value)


def test_an_empty_file_means_the_defaults() -> None:
    assert parse_config("", "p.toml") == Config()
    assert Config().server.socket == Path("/run/ptraced/ptraced.sock")
    assert Config().server.socket_mode == 0o660
    assert Config().limits.queue_bytes == 64 << 20
    assert Config().reader.interval_ms == 20
    assert Config().reader.watermark_bytes == 512 << 10


def test_every_setting_can_be_set() -> None:
    config = parse_config(
        """
        [server]
        socket = "/run/other.sock"
        socket_mode = "0600"
        socket_group = "tracers"
        insecure_loopback = "[::1]:7878"
        insecure_loopback_user = "alice"
        state_dir = "/var/lib/other"
        [limits]
        sessions = 3
        events_per_session = 4
        queue_bytes = 1048576
        buffer_pages = 64
        max_buffer_pages = 128
        [reader]
        interval_ms = 5
        watermark_bytes = "64 KiB"
        [log]
        level = "debug"
        format = "json"
        """,
        "p.toml",
    )
    assert config.server == Server(
        socket=Path("/run/other.sock"),
        socket_mode=0o600,
        socket_group="tracers",
        insecure_loopback="[::1]:7878",
        insecure_loopback_user="alice",
        state_dir=Path("/var/lib/other"),
    )
    assert config.limits == Limits(
        sessions=3,
        events_per_session=4,
        queue_bytes=1 << 20,
        buffer_pages=64,
        max_buffer_pages=128,
    )
    assert (config.reader.interval_ms, config.reader.watermark_bytes) == (5, 65536)
    assert (config.log.level, config.log.format) == ("debug", "json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[server]\n\nsokcet = '/x'\n",
            "error: p.toml:3: server.sokcet is not a setting (did you mean 'socket'?)",
        ),
        (
            "[sever]\nsocket = '/x'\n",
            "error: p.toml:1: there is no section [sever] (did you mean 'server'?)",
        ),
        ("socket = '/x'\n", "error: p.toml:1: there is no section [socket]"),
        (
            "[server]\nsocket = 'x.sock'\n",
            'error: p.toml:2: server.socket must be an absolute path, not "x.sock"',
        ),
        (
            f"[server]\nsocket = '/{'x' * 107}'\n",
            "error: p.toml:2: server.socket must be shorter than 108 bytes, the limit of socket "
            f'paths, not "/{"x" * 107}"',
        ),
        (
            "[server]\nsocket_mode = 660\n",
            'error: p.toml:2: server.socket_mode must be an octal mode, like "0660", not 660',
        ),
        (
            "[server]\nsocket_group = 7\n",
            "error: p.toml:2: server.socket_group must be a text, not 7",
        ),
        (
            "[server]\ninsecure_loopback = '0.0.0.0:80'\n",
            "error: p.toml:2: server.insecure_loopback must be a loopback address and port, like "
            '"127.0.0.1:7878": plain TCP shows all data to the network, not "0.0.0.0:80"',
        ),
        (
            "[limits]\nsessions = true\n",
            "error: p.toml:2: limits.sessions must be a number from 1 to 65536, not true",
        ),
        (
            "[limits]\nqueue_bytes = '64 MB'\n",
            "error: p.toml:2: limits.queue_bytes must be a size from 1MiB to 1024GiB, like "
            '"64MiB", not "64 MB"',
        ),
        (
            "limits.buffer_pages = 500\n",
            "error: p.toml:1: limits.buffer_pages must be a power of two, at most 1048576 pages, "
            "not 500",
        ),
        (
            "[limits]\nmax_buffer_pages = 8\nbuffer_pages = 16\n",
            "error: p.toml:3: limits.buffer_pages must be at most limits.max_buffer_pages (8), "
            "not 16",
        ),
        (
            "[log]\nlevel = 'trace'\n",
            'error: p.toml:2: log.level must be one of "debug", "info", "warning", "error", '
            'not "trace"',
        ),
        (
            "[log]\nlevel =\n",
            "error: p.toml: Invalid value (at line 2, column 8)",
        ),
    ],
)
def test_a_mistake_names_file_line_and_key(text: str, message: str) -> None:
    assert refused(text) == message


def test_all_mistakes_are_told_at_once_in_the_files_order() -> None:
    assert refused("[log]\nformat = 'xml'\n[limits]\nsession = 1\nsessions = 0\n") == (
        'error: p.toml:2: log.format must be one of "text", "json", not "xml"\n'
        "error: p.toml:4: limits.session is not a setting (did you mean 'sessions'?)\n"
        "error: p.toml:5: limits.sessions must be a number from 1 to 65536, not 0"
    )


@pytest.mark.parametrize("address", ["", "127.0.0.1:1", "127.8.8.8:65535", "localhost:7878"])
def test_loopback_addresses_are_taken(address: str) -> None:
    text = f"server.insecure_loopback = '{address}'\nserver.insecure_loopback_user = 'alice'"
    assert parse_config(text, "p.toml").server.insecure_loopback == address


@pytest.mark.parametrize(
    "address", ["example.org:1", "127.0.0.1", "127.0.0.1:65536", ":80", "::1:80"]
)
def test_other_addresses_are_not(address: str) -> None:
    assert f'not "{address}"' in refused(f"server.insecure_loopback = '{address}'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[server]\ninsecure_loopback = '127.0.0.1:7878'\n",
            "error: p.toml:2: server.insecure_loopback needs server.insecure_loopback_user: the "
            "user for whom everybody who connects there is taken",
        ),
        (
            "[tls]\nlisten = '0.0.0.0:7879'\nkey = '/k'\n",
            "error: p.toml:2: tls.listen needs tls.certificate and tls.client_ca: there is no TLS "
            "without certificates of both sides",
        ),
        (
            "[tls.users]\nalice = 'alice'\n",
            "error: p.toml:1: tls.users needs tls.certificate and tls.key and tls.client_ca: there "
            "is no TLS without certificates of both sides",
        ),
        (
            "[tls]\nlisten = 'example.org:7879'\n",
            "error: p.toml:2: tls.listen must be an IP address of this host and a port, like "
            '"0.0.0.0:7879", not "example.org:7879"',
        ),
    ],
)
def test_ways_in_from_elsewhere_need_all_that_makes_them_safe(text: str, message: str) -> None:
    assert refused(text) == message


@pytest.mark.parametrize("users", ["{'a b' = 'alice'}", "{'-a' = 'alice'}", "{a = 1}", "'alice'"])
def test_users_of_certificates_are_a_table_of_plain_names(users: str) -> None:
    assert "tls.users must " in refused(f"tls.users = {users}")


def test_a_named_file_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(TraceError) as caught:
        load_config(tmp_path / "none.toml")
    assert (
        str(caught.value) == f"error: cannot read {tmp_path}/none.toml: No such file or directory"
    )
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(TraceError) as caught:
        load_config(tmp_path / "binary.toml")
    assert str(caught.value) == f"error: {tmp_path}/binary.toml is not UTF-8 text"


def test_a_named_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("[limits]\nsessions = 9\n")
    assert load_config(tmp_path / "p.toml").limits.sessions == 9


def test_rings_of_one_event_stay_within_32_mib_on_any_host() -> None:
    for cpus in (1, 2, 7, 16, 17, 64, 100, 256, 1024):
        pages = default_buffer_pages(cpus, 4096)
        assert pages & (pages - 1) == 0
        assert pages * 4096 <= 2 << 20
        assert pages * 4096 * cpus <= 32 << 20
    assert default_buffer_pages(16, 4096) == 512
    assert default_buffer_pages(17, 4096) == 256
    assert default_buffer_pages(2, 65536) == 32


def test_the_state_directory_is_the_configured_one_then_systemds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/one:/var/lib/two")
    assert Config().state_dir() == Path("/var/lib/one")
    assert Config(server=Server(state_dir=Path("/srv/state"))).state_dir() == Path("/srv/state")


def test_a_state_directory_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert Config().state_dir() == Path("/var/lib/ptraced")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(TraceError) as caught:
        Config().state_dir()
    assert str(caught.value) == (
        "error: /var/lib/ptraced cannot be written; "
        "name a directory of the daemon's own by server.state_dir"
    )


def test_sizes_are_written_in_their_largest_unit() -> None:
    assert [format_size(size) for size in (0, 1, 1000, 1024, 3 << 20, 5 << 30)] == [
        "0B",
        "1B",
        "1000B",
        "1KiB",
        "3MiB",
        "5GiB",
    ]
