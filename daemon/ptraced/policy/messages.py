"""What a policy allows, as messages of the contract."""

from __future__ import annotations

from dataclasses import asdict

from ptrace_proto import ptrace_pb2 as pb
from ptraced.policy.grant import Grant, Quota, Rule


def grant_message(grant: Grant, used: Quota) -> pb.WhoAmIResponse:
    """What a caller may do, without who that is; `used` is what it uses of its quota.

    Where the rules stand is for administrators: the names of files say much about a host.
    """
    return pb.WhoAmIResponse(
        rules=[_rule(rule, rule.place if grant.admin else "") for rule in grant.rules],
        quotas=_quotas(grant.quota),
        admin=grant.admin,
        used=_quotas(used),
    )


def _rule(rule: Rule, place: str) -> pb.PolicyRule:
    return pb.PolicyRule(
        name=rule.name,
        place=place,
        events=rule.events,
        scope=rule.tasks,
        uprobes=rule.uprobes,
        stacks=rule.stacks,
        kernel_addresses=rule.kernel_addresses,
        remote=rule.remote,
    )


def _quotas(quota: Quota) -> pb.Quotas:
    return pb.Quotas(**asdict(quota))
