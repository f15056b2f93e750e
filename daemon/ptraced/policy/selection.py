"""Of the events that a request selects, those that the policy shows: to trace, filter and tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ptraced.diagnostics import pointed, printable
from ptraced.errors import PermissionRefused
from ptraced.filter_syntax import names
from ptraced.layout import Blank, Blanks, RowLayout
from ptraced.policy.exposure import Exposure, View
from ptraced.policy.grant import Grant, StackParts
from ptraced.selector import SelectedEvent

# Events that a warning names.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """The events, how each of them is shown, and what users should know of those left out."""

    events: list[SelectedEvent]
    exposures: list[Exposure]
    warnings: list[str]


def select(events: Sequence[SelectedEvent], grant: Grant) -> Selection:
    """Leave out what wildcards have that the caller may not see.

    Raises PermissionRefused where nothing of a selector is left, and for filters on what is blank:
    what matches would tell what it is.
    """
    view = View(grant)
    shown: list[tuple[SelectedEvent, Exposure]] = []
    refused: dict[int, list[tuple[SelectedEvent, PermissionRefused]]] = {}
    for event in events:
        try:
            shown.append((event, view.expose(event)))
        except PermissionRefused as error:
            refused.setdefault(event.index, []).append((event, error))
    left = {event.index for event, _ in shown}
    for index, of_selector in refused.items():
        if index not in left:
            raise of_selector[0][1]
    for event, exposure in shown:
        _check_filter(event, exposure.blanks)
    warnings = [
        f"'{printable(of_selector[0][0].text)}' leaves out what the policy does not show you: "
        f"{_listed([event.name for event, _ in of_selector])}"
        for of_selector in refused.values()
    ]
    return Selection([e for e, _ in shown], [exposure for _, exposure in shown], warnings)


def _check_filter(event: SelectedEvent, blanks: Blanks) -> None:
    if event.filter is None:
        return
    text = event.filter.text
    assert text is not None
    for name in names(text.syntax):
        field = name.text.partition(".")[0]
        if field in blanks.names:
            message = f"the policy does not show you '{field}' of {event.name}: no filter on it"
            raise PermissionRefused(
                pointed(message, text.line, text.start + name.start, text.start + name.end)
            )


def stack_parts(
    event: SelectedEvent, granted: StackParts, kernel: bool, user: bool
) -> tuple[bool, bool]:
    """The parts of an event's stacks that the caller gets of those that it asks for.

    Of both it gets what is granted. Raises PermissionRefused where nothing is left.
    """
    gets_kernel = kernel and granted in (StackParts.KERNEL, StackParts.ALL)
    gets_user = user and granted in (StackParts.USER, StackParts.ALL)
    if (kernel or user) and not (gets_kernel or gets_user):
        part = "" if kernel and user else "kernel " if kernel else "user "
        raise PermissionRefused(f"error: the policy shows you no {part}stacks of {event.name}")
    return gets_kernel, gets_user


def blank_warnings(events: Sequence[SelectedEvent], layouts: Sequence[RowLayout]) -> Iterator[str]:
    """What users should know of columns that have not what the kernel has."""
    for blank, told in (
        (Blank.ALL, "is blank, since the policy does not show it to you"),
        (
            Blank.KERNEL_ADDRESSES,
            "has 0 in place of addresses of the kernel, which the policy does not show you",
        ),
    ):
        found: dict[str, str] = {}
        for event, layout in zip(events, layouts, strict=True):
            columns = [column.name for column in layout.columns if column.blank is blank]
            if columns:
                found[event.name] = f"{', '.join(columns)} of {event.name}"
        if found:
            yield f"{_listed(list(found.values()), '; ')} {told}"


def _listed(items: Sequence[str], separator: str = ", ") -> str:
    more = len(items) - _NAMED
    listed = separator.join(map(printable, items[:_NAMED]))
    return listed + (f"{separator}and {more} more" if more > 0 else "")
