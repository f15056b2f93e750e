"""The policy of a host whose configuration has no rules."""

from __future__ import annotations

from ptraced.policy.grant import Policy, Rule, StackParts, Tasks, Uprobes

POLICY = Policy(
    (
        Rule(
            name="administrators",
            users=("root",),
            groups=("ptrace-admin",),
            events=("*",),
            tasks=Tasks.ALL,
            uprobes=Uprobes.ALL,
            stacks=StackParts.ALL,
            kernel_addresses=True,
            remote=True,
            admin=True,
        ),
        Rule(
            name="users",
            groups=("ptrace",),
            events=("*",),
            uprobes=Uprobes.OWN,
            stacks=StackParts.ALL,
        ),
    )
)
