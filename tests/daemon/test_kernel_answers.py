"""Answers that are remembered, and those that are not."""

from __future__ import annotations

import errno
import os

import pytest

from ptraced import bpf_maps, uprobe_multi
from ptraced.kernel_answers import remembered
from ptraced.sampling import attr


def test_a_question_is_asked_once() -> None:
    asked = []

    @remembered
    def question() -> bool:
        asked.append(1)
        return True

    assert question()
    assert question()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("number", "times"), [(errno.EINVAL, 1), (errno.EPERM, 1), (errno.EMFILE, 2), (errno.ENOMEM, 2)]
)
def test_what_there_is_no_room_for_is_asked_again(number: int, times: int) -> None:
    asked = []

    @remembered
    def question() -> bool:
        asked.append(1)
        raise OSError(number, os.strerror(number))

    assert not question()
    assert not question()
    assert len(asked) == times


@pytest.mark.parametrize("question", [attr.counts_lost, attr.has_hardware])
def test_perf_events_are_asked_for_again(question, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    asked = []

    def refuse(*_: object) -> int:
        asked.append(1)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(attr, "open_event", refuse)
    again = remembered(question.__wrapped__)

    assert not again()
    assert not again()
    assert len(asked) == 2


@pytest.mark.parametrize("what", ["program", "link"])
def test_links_are_asked_for_again(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*_: object) -> int:
        asked.append(1)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def load(*_: object) -> int:
        return refuse() if what == "program" else os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(bpf_maps, "load_program", load)
    monkeypatch.setattr(uprobe_multi, "_link", refuse)
    again = remembered(uprobe_multi.is_available.__wrapped__)  # type: ignore[attr-defined]

    assert not again()
    assert not again()
    assert len(asked) == 2
