"""Rules that no file has: of a host without rules, and of an embedded daemon."""

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


def owner(uid: int) -> Rule:
    """Allows everything to the user who runs an embedded daemon, and to root."""
    return Rule(
        name="owner",
        users=(f"#{uid}", "#0"),
        events=("*",),
        tasks=Tasks.ALL,
        uprobes=Uprobes.ALL,
        stacks=StackParts.ALL,
        kernel_addresses=True,
        remote=True,
        admin=True,
    )
