"""Rules that no file of the host has: where it has none, and for an embedded daemon."""

from __future__ import annotations

from importlib import resources

from ptraced.config_files import parse_document
from ptraced.policy.grant import Policy, Rule, StackParts, Tasks, Uprobes
from ptraced.policy.load import load_quota, load_rules

# The file that packages install as /etc/ptraced/ptraced.toml.
_DEFAULT = parse_document(resources.files(__package__).joinpath("default.toml").read_text(), "")

POLICY = Policy(load_rules([_DEFAULT])[0])
QUOTA = load_quota([_DEFAULT])[0]


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
