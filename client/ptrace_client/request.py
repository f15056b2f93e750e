"""Requests to trace, from what a user says: the command line's options, the API's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ptrace_client.errors import ClientError
from ptrace_client.event_fields import common_keys, own_keys
from ptrace_client.projection import Reads, projection
from ptrace_proto import ptrace_pb2 as pb

# As the contract limits it.
_LABEL_BYTES = 256


def trace_request(
    selectors: Sequence[str],
    *,
    projections: Iterable[pb.Projection] = (),
    cpus: str = "",
    pids: Iterable[int] = (),
    tids: Iterable[int] = (),
    cgroups: Iterable[str] = (),
    buffer_pages: int = 0,
    watermark: int | None = None,
    mark_interval: int = 0,
    stacks: pb.Stacks | None = None,
    label: str = "",
) -> pb.TraceRequest:
    """Return the request to trace `selectors`, each in the grammar of -e.

    `cpus` is a list such as "0-3,8", empty for all; `pids` and `tids` select processes and
    threads with their later children; `cgroups` are names or regular expressions.
    `buffer_pages` per CPU and event must be a power of two, 0 for the daemon's default;
    `watermark` is the percentage of a buffer that wakes the daemon (0: every event);
    `mark_interval` is in ns; `stacks` are those of every event. Raise ClientError where a
    number is out of its range.
    """
    check_buffer_pages(buffer_pages)
    if watermark is not None and not 0 <= watermark <= 100:
        raise ClientError(f"watermark {watermark} is not a percentage from 0 to 100")
    return pb.TraceRequest(
        selectors=selectors,
        projections=projections,
        scope=pb.Scope(cpus=cpus, pids=pids, tids=tids, cgroups=cgroups),
        buffer_pages=buffer_pages,
        watermark_percent=watermark or 0,
        wake_every_event=watermark == 0,
        mark_interval=mark_interval,
        print_formats=True,
        stacks=stacks,
        label=label.encode(errors="replace")[:_LABEL_BYTES].decode(errors="ignore"),
    )


def stack_request(stacks: bool | str, max_depth: int = 0) -> pb.Stacks | None:
    """Return the request for stacks: "kernel", "user", or True for both; none for False.

    `max_depth` is the number of frames of each at most, 0 for as many as the kernel gives.
    Raise ClientError for another word or a negative depth.
    """
    if stacks not in (False, True, "kernel", "user"):
        raise ClientError(f"stacks {stacks!r} are none: there are 'kernel', 'user', and True")
    if max_depth < 0:
        raise ClientError(f"stacks of {max_depth} frames: the depth must not be negative")
    if not stacks and not max_depth:
        return None
    return pb.Stacks(
        kernel=stacks in (True, "kernel"), user=stacks in (True, "user"), max_depth=max_depth
    )


def project(schemas: Sequence[pb.EventSchema], names: Iterable[str]) -> list[pb.Projection]:
    """Return the request for just the fields `names`, in those of `schemas` that have them.

    Raise ClientError for a name that no event has.
    """
    reads = Reads(frozenset(names))
    unknown = set(reads.names)
    for schema in schemas:
        on_request = (info.name for info in schema.all_fields if info.on_request)
        unknown.difference_update(common_keys(schema), own_keys(schema), on_request)
    if unknown:
        raise ClientError(f"none of the events has a field {sorted(unknown)[0]!r}")
    return [projection(reads, schema) for schema in schemas]


def check_buffer_pages(pages: int) -> None:
    """Raise ClientError unless `pages` is a power of two, or 0."""
    if pages < 0 or pages & (pages - 1):
        near = 1 << max(pages.bit_length() - 1, 0)
        known = "" if pages < 0 else f": {near} and {2 * near} are"
        raise ClientError(f"a buffer of {pages} pages is not a power of two{known}")
