"""Which arguments handlers of perf's dialect get: perf's rule, and what is accepted beyond it."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from ptrace_client.perf_script.binding import COMMON, Constant, bind

FIELDS = ("skbaddr", "location", "rx_sk", "protocol", "reason")
EVENT = "skb__kfree_skb"


def handler(parameters: str) -> Any:
    scope: dict[str, Any] = {}
    exec(f"def handler({parameters}): return locals()", scope)
    return scope["handler"]


def test_modern_form_takes_all_fields_by_position() -> None:
    found = bind(handler("n, c, cpu, s, ns, pid, comm, chain, a, b, d, e, f"), EVENT, FIELDS)
    assert found.arguments == (*COMMON, 0, 1, 2, 3, 4)
    assert found.warning is None


def test_one_parameter_more_takes_the_sample_dictionary() -> None:
    found = bind(handler("n, c, cpu, s, ns, pid, comm, chain, a, b, d, e, f, more"), EVENT, FIELDS)
    assert found.arguments == (*COMMON, 0, 1, 2, 3, 4, "perf_sample_dict")
    assert found.warning is None


def test_defaults_and_keyword_only_count_as_perf_counts_them() -> None:
    with_default = handler("n, c, cpu, s, ns, pid, comm, chain, a, b, d, e, f, more=None")
    assert bind(with_default, EVENT, FIELDS).takes_dict
    keyword = handler("n, c, cpu, s, ns, pid, comm, chain, a, b, d, e, f, *, more=None")
    assert not bind(keyword, EVENT, FIELDS).takes_dict


@pytest.mark.parametrize("parameters", ["*args", "name, context, *rest"])
def test_further_arguments_are_taken_without_a_dictionary(parameters: str) -> None:
    found = bind(handler(parameters), EVENT, FIELDS)
    assert found.arguments == (*COMMON, 0, 1, 2, 3, 4)
    assert found.warning is None


def test_callables_without_code_get_what_perf_gives() -> None:
    partial = functools.partial(handler("x, *rest"), 1)
    assert bind(partial, EVENT, FIELDS).arguments == (*COMMON, 0, 1, 2, 3, 4)


def test_mans_page_form_has_no_callchain() -> None:
    old = handler("n, c, cpu, s, ns, pid, comm, skbaddr, location, rx_sk, protocol, reason")
    found = bind(old, EVENT, FIELDS)
    assert found.arguments == (*COMMON[:7], 0, 1, 2, 3, 4)
    assert found.warning == (
        "skb__kfree_skb has no common_callchain, and gets none: perf would abort (--strict does)"
    )


def test_missing_fields_are_bound_by_name_even_where_the_count_is_that_of_the_man_page() -> None:
    newer = handler("n, c, cpu, s, ns, pid, comm, callchain, skbaddr, location, protocol, reason")
    found = bind(newer, EVENT, FIELDS)
    assert found.arguments == (*COMMON, 0, 1, 3, 4)
    assert found.warning == ("skb__kfree_skb does not take rx_sk: perf would abort (--strict does)")


def test_fields_in_another_order_are_bound_by_name() -> None:
    found = bind(
        handler("n, c, cpu, s, ns, pid, comm, chain, skbaddr, protocol, location"), EVENT, FIELDS
    )
    assert found.arguments == (*COMMON, 0, 3, 1)


def test_a_gone_field_has_its_default_or_what_kernels_last_said() -> None:
    fields = ("comm", "pid", "prio", "target_cpu")
    old = handler("n, c, cpu, s, ns, p, cm, chain, comm, pid, prio, success, target_cpu")
    found = bind(old, "sched__sched_wakeup", fields)
    assert found.arguments == (*COMMON, 0, 1, 2, Constant(1), 3)
    assert found.warning == (
        "sched__sched_wakeup takes success, which the event does not have: "
        "perf would abort (--strict does)"
    )
    mine = handler("n, c, cpu, s, ns, p, cm, chain, comm, pid, other=7")
    assert bind(mine, "sched__sched_wakeup", fields).arguments == (*COMMON, 0, 1, Constant(7))


def test_a_named_dictionary_is_given_where_fields_are_missing() -> None:
    some = handler("n, c, cpu, s, ns, p, cm, chain, location, perf_sample_dict")
    assert bind(some, EVENT, FIELDS).arguments == (*COMMON, 1, "perf_sample_dict")


def test_a_bound_method_does_not_count_itself() -> None:
    class Script:
        def taking(self, n, c, cpu, s, ns, p, cm, chain, a, b, d, e, f):  # type: ignore[no-untyped-def]
            """Has as many parameters as perf gives arguments, and self."""

    method = Script().taking
    assert bind(method, EVENT, FIELDS).arguments == (*COMMON, 0, 1, 2, 3, 4)
    # perf counts it, and passes one too many.
    assert bind(method, EVENT, FIELDS, strict=True).takes_dict


@pytest.mark.parametrize(
    "parameters",
    [
        "n, c, cpu, s, ns, pid, comm, skbaddr, location, rx_sk, protocol, reason",
        "n, c, cpu, s, ns, pid, comm, chain, skbaddr",
        "event",
    ],
)
def test_strict_gives_what_perf_gives(parameters: str) -> None:
    found = bind(handler(parameters), EVENT, FIELDS, strict=True)
    assert found.arguments == (*COMMON, 0, 1, 2, 3, 4)
    assert found.warning is None


@pytest.mark.parametrize("parameters", ["event", "n, c, cpu, s, ns, pid, comm, chain, unknown", ""])
def test_what_cannot_be_meant_gets_what_perf_gives(parameters: str) -> None:
    assert bind(handler(parameters), EVENT, FIELDS).arguments == (*COMMON, 0, 1, 2, 3, 4)


def test_call_is_source_with_constants_in_its_scope() -> None:
    fields = ("comm", "pid", "prio", "target_cpu")
    old = handler("n, c, cpu, s, ns, p, cm, chain, comm, pid, prio, success, target_cpu")
    scope: dict[str, Any] = {"handler": lambda *args: args}
    common = {name: repr(name) for name in COMMON}
    source = bind(old, "sched__sched_wakeup", fields).call(common, ["10", "11", "12", "13"], scope)
    assert eval(source, scope) == (*COMMON, 10, 11, 12, 1, 13)
