"""The daemon's configuration: TOML, every setting with a default, all files checked as a whole.

Defaults need no file. Sizes are numbers of bytes, or texts like "64MiB".
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from ptraced import config_values as values
from ptraced.config_files import (
    Document,
    Mistake,
    did_you_mean,
    merged_table,
    parse_document,
    read_documents,
)
from ptraced.errors import TraceError, Unavailable
from ptraced.policy import builtin
from ptraced.policy.grant import Policy, Quota
from ptraced.policy.load import load_quota, load_rules

DEFAULT_FILE = Path("/etc/ptraced/ptraced.toml")
DEFAULT_STATE_DIR = Path("/var/lib/ptraced")

# What of a configuration is no section of settings.
_TABLES = ("quota", "policy")

_KIB, _MIB = 1 << 10, 1 << 20

# Kernel memory of one event's rings: per CPU, and over all CPUs of the host.
_RING_BYTES = 2 * _MIB
_RINGS_BYTES = 32 * _MIB


def default_buffer_pages(cpus: int, page_bytes: int = mmap.PAGESIZE) -> int:
    """Pages of an event's ring per CPU, a power of two: at most 2 MiB, and 32 MiB in all."""
    pages = max(1, min(_RING_BYTES, _RINGS_BYTES // cpus) // page_bytes)
    return 1 << pages.bit_length() - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where clients connect, and where files are kept.

    `socket_group` is used where the host has that group; `state_dir` is None where the daemon is
    to choose.
    `connections` are of all users together, beside a few that are kept for root, who has no
    limit of `connections_per_user`. `insecure_loopback` is an address for plain TCP, empty for
    none: every user and program of this host can be whom `insecure_loopback_user` names there.
    """

    socket: Annotated[Path, values.socket_path] = Path("/run/ptraced/ptraced.sock")
    socket_mode: Annotated[int, values.mode] = 0o660
    socket_group: Annotated[str, values.text] = "ptrace"
    insecure_loopback: Annotated[str, values.loopback] = ""
    insecure_loopback_user: Annotated[str, values.text] = ""
    connections: Annotated[int, values.number(1, 65536)] = 1024
    connections_per_user: Annotated[int, values.number(1, 65536)] = 64
    state_dir: Annotated[Path | None, values.absolute_path] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Where remote clients connect, empty for nowhere, and whose their certificates are.

    The files are PEM; `client_ca` signs the certificates of clients, `crl` names those that it
    revoked. `users` has the local user for each common name in a certificate.
    """

    listen: Annotated[str, values.address] = ""
    certificate: Annotated[Path | None, values.absolute_path] = None
    key: Annotated[Path | None, values.absolute_path] = None
    client_ca: Annotated[Path | None, values.absolute_path] = None
    crl: Annotated[Path | None, values.absolute_path] = None
    users: Annotated[Mapping[str, str], values.user_map] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may ask for, and what they get when they do not ask.

    `queue_bytes` bounds what waits for one slow client, `total_queue_bytes` what waits for all
    of them: one user's may take half of it at most. `buffer_pages` is the ring per CPU
    and event by default, `max_buffer_pages` the largest that a session may ask for.
    """

    sessions: Annotated[int, values.number(1, 65536)] = 256
    events_per_session: Annotated[int, values.number(1, 65536)] = 1024
    queue_bytes: Annotated[int, values.size(_MIB, 1 << 40)] = 64 * _MIB
    total_queue_bytes: Annotated[int, values.size(4 * _MIB, 1 << 40)] = 512 * _MIB
    buffer_pages: Annotated[int, values.pages] = field(
        default_factory=lambda: default_buffer_pages(os.cpu_count() or 1)
    )
    max_buffer_pages: Annotated[int, values.pages] = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """When rings are read: every `interval_ms`, or at once when `watermark_bytes` wait in one."""

    interval_ms: Annotated[int, values.number(1, 1000)] = 20
    watermark_bytes: Annotated[int, values.size(1, 1 << 30)] = 512 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is logged to standard error, and how."""

    level: Annotated[str, values.choice("debug", "info", "warning", "error")] = "info"
    format: Annotated[str, values.choice("text", "json")] = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Where audit lines go: to the systemd journal where there is one, and to a file.

    Without a journal they are among the lines of the log. `file` is None for no file.
    """

    journal: Annotated[bool, values.flag] = True
    file: Annotated[Path | None, values.absolute_path] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Where Prometheus reads metrics: "unix:PATH" or "ADDRESS:PORT"; empty for nowhere.

    What they show is not for everybody: addresses other than loopback ones must be `public`.
    """

    listen: Annotated[str, values.metrics_address] = ""
    public: Annotated[bool, values.flag] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings, in the sections of the file.

    `quota` limits all users together; `policy` is of the tables [[rule]].
    """

    server: Server = field(default_factory=Server)
    tls: Tls = field(default_factory=Tls)
    limits: Limits = field(default_factory=Limits)
    reader: Reader = field(default_factory=Reader)
    log: Log = field(default_factory=Log)
    audit: Audit = field(default_factory=Audit)
    metrics: Metrics = field(default_factory=Metrics)
    quota: Quota = builtin.QUOTA
    policy: Policy = builtin.POLICY

    def state_dir(self) -> Path:
        """The directory to keep files in: as configured, else systemd's, else /var/lib/ptraced.

        Raises Unavailable where none is set and the default cannot be written.
        """
        if self.server.state_dir is not None:
            return self.server.state_dir
        given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        if given:
            return Path(given)
        place = DEFAULT_STATE_DIR if DEFAULT_STATE_DIR.exists() else DEFAULT_STATE_DIR.parent
        if os.access(place, os.W_OK):
            return DEFAULT_STATE_DIR
        raise Unavailable(
            f"error: {DEFAULT_STATE_DIR} cannot be written; "
            "name a directory of the daemon's own by server.state_dir"
        )


# What a running daemon takes over, besides rules and quotas.
_RELOADED = ("log.level", "tls.users")


def changed_settings(before: Config, after: Config) -> list[str]:
    """The settings that differ and that a running daemon does not take over, "server.socket"."""
    names = [
        (section, key.name)
        for section in get_type_hints(Config)
        if section not in _TABLES
        for key in fields(getattr(before, section))
    ]
    return [
        f"{section}.{name}"
        for section, name in names
        if f"{section}.{name}" not in _RELOADED
        and getattr(getattr(before, section), name) != getattr(getattr(after, section), name)
    ]


def load_config(path: Path | None = None) -> Config:
    """Read the configuration: `path`, else /etc/ptraced/ptraced.toml; and its drop-ins.

    Raises TraceError that lists every mistake with its file, line and key.
    """
    return _checked(read_documents(path or DEFAULT_FILE, optional=path is None))


def parse_config(text: str, name: str) -> Config:
    """Read a configuration from TOML text; `name` is what messages call it."""
    return _checked([parse_document(text, name)])


def _checked(documents: Sequence[Document]) -> Config:
    kinds = {name: kind for name, kind in get_type_hints(Config).items() if name not in _TABLES}
    mistakes = list(_unknown_sections(documents, kinds))
    sections: dict[str, Any] = {}
    for name, kind in kinds.items():
        hints = get_type_hints(kind, include_extras=True)
        parsers = {key: hint.__metadata__[0] for key, hint in hints.items()}
        settings, wrong = merged_table(documents, name, parsers)
        sections[name] = kind(**settings)
        mistakes += wrong
    quota, wrong = load_quota(documents)
    mistakes += wrong
    rules, wrong = load_rules(documents)
    mistakes += wrong
    config = Config(
        **sections,
        quota=quota
        if any("quota" in document.content for document in documents)
        else builtin.QUOTA,
        policy=Policy(rules) if rules else builtin.POLICY,
    )
    if not mistakes:
        mistakes = [
            _last(documents, key).mistake(key, what) for key, what in _contradictions(config)
        ]
    if mistakes:
        raise TraceError("\n".join(mistake.text for mistake in sorted(mistakes)))
    return config


def _unknown_sections(documents: Sequence[Document], kinds: Iterable[str]) -> Iterator[Mistake]:
    known = [*kinds, "quota", "rule"]
    for document in documents:
        for name, content in document.content.items():
            if name not in known:
                text = f"there is no section [{name}]{did_you_mean(name, known)}"
                yield document.mistake((name,), text)
            elif name != "rule" and not isinstance(content, dict):
                yield document.mistake((name,), f"{name} is a section: [{name}]")


def _last(documents: Sequence[Document], key: tuple[str, str]) -> Document:
    """The file that decides about a setting; the last one where none has it."""
    having = [each for each in documents if key[1] in each.content.get(key[0], {})]
    return (having or documents)[-1]


def _contradictions(config: Config) -> Iterator[tuple[tuple[str, str], str]]:
    metrics = config.metrics
    if not (metrics.public or metrics.listen[:5] in ("", "unix:")) and not values.is_loopback(
        metrics.listen
    ):
        yield (
            ("metrics", "listen"),
            f'metrics.listen = "{metrics.listen}" would show who traces how much to the network; '
            "metrics.public = true allows that",
        )
    limits = config.limits
    if limits.buffer_pages > limits.max_buffer_pages:
        yield (
            ("limits", "buffer_pages"),
            f"limits.buffer_pages must be at most limits.max_buffer_pages "
            f"({limits.max_buffer_pages}), not {limits.buffer_pages}",
        )
    if config.server.insecure_loopback and not config.server.insecure_loopback_user:
        yield (
            ("server", "insecure_loopback"),
            "server.insecure_loopback needs server.insecure_loopback_user: "
            "the user for whom everybody who connects there is taken",
        )
    yield from _tls_contradictions(config.tls)


def _tls_contradictions(tls: Tls) -> Iterator[tuple[tuple[str, str], str]]:
    needed = ("certificate", "key", "client_ca")
    missing = [f"tls.{name}" for name in needed if getattr(tls, name) is None]
    used = [
        name
        for name in ("listen", *needed, "crl", "users")
        if getattr(tls, name) not in ("", None, {})
    ]
    if used and missing:
        yield (
            ("tls", used[0]),
            f"tls.{used[0]} needs {' and '.join(missing)}: there is no TLS without "
            "certificates of both sides",
        )
