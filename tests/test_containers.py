"""The image and the DaemonSet: that they say what the unit says, as nothing here can run them."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from ptraced import privileges
from ptraced.config import Server, load_config
from ptraced.policy.builtin import POLICY
from unprivileged import PROJECT

DEPLOY = PROJECT / "deploy"
# Beyond the unit's: /proc/PID/root leads into other containers.
OF_CONTAINERS = {"CAP_SYS_PTRACE"}


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


@pytest.fixture(scope="module")
def pod(objects: dict[str, Any]) -> Any:
    return objects["DaemonSet"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    (container,) = pod["containers"]
    return container


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile, without comments, and continued lines put together."""
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    pairs = (line.partition(" ") for line in text.splitlines() if line.strip())
    return [(word, rest.strip()) for word, _, rest in pairs]


def documented_run() -> list[str]:
    """The words of the `docker run` in the Dockerfile's head."""
    comment = re.findall(r"^#   (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    return shlex.split(" ".join(comment).replace("\\ ", "").partition("docker run ")[2])


def test_the_rights_are_the_units_and_one_that_other_containers_take(container: Any) -> None:
    context = container["securityContext"]
    needed = {capability.name for capability in privileges.NEEDED} | OF_CONTAINERS
    assert context["capabilities"]["drop"] == ["ALL"]
    assert {f"CAP_{name}" for name in context["capabilities"]["add"]} == needed
    assert context["privileged"] is context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True


def test_docker_is_told_the_same_rights_and_mounts(container: Any) -> None:
    words = documented_run()
    pairs = list(pairwise(words))
    added = {value for option, value in pairs if option == "--cap-add"}
    assert added == set(container["securityContext"]["capabilities"]["add"])
    assert ("--cap-drop", "ALL") in pairs
    mounted = {value.split(":")[1] for option, value in pairs if option == "-v"}
    own = {"/etc/ptraced", "/var/lib/ptraced"}
    assert mounted == {mount["mountPath"] for mount in container["volumeMounts"]} - own


def test_what_is_mounted_exists_and_only_socket_and_state_are_written(
    pod: Any, container: Any
) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts)
    written = {m["mountPath"] for m in mounts.values() if not m.get("readOnly")}
    assert written == {str(Server().socket.parent), "/var/lib/ptraced"}
    for name, volume in volumes.items():
        if "hostPath" in volume:
            assert volume["hostPath"]["path"] == mounts[name]["mountPath"]


def test_processes_are_the_nodes_and_nothing_else_is(pod: Any) -> None:
    assert (pod["hostPID"], pod["hostNetwork"], pod["hostIPC"]) == (True, False, False)
    assert pod["automountServiceAccountToken"] is False


def test_the_policy_of_the_daemonset_is_one(objects: dict[str, Any], tmp_path: Path) -> None:
    text = objects["ConfigMap"]["data"]["ptraced.toml"]
    assert [rule["name"] for rule in tomllib.loads(text)["rule"]] == [
        rule.name for rule in POLICY.rules
    ]
    file = tmp_path / "ptraced.toml"
    file.write_text(text)
    assert [rule.name for rule in load_config(file).policy.rules] == ["administrators", "users"]


def test_the_image_is_made_of_what_is_there() -> None:
    found = instructions()
    assert [rest.split()[0] for word, rest in found if word == "FROM"] == [
        "debian:bookworm-slim"
    ] * 2
    assert found[-1] == ("ENTRYPOINT", '["/usr/bin/ptraced"]')
    for word, rest in found:
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            assert [source for source in sources if not (PROJECT / source).exists()] == []
        for command in rest.split("&&") if word == "RUN" else ():
            if "apt-get install" in command:
                assert "--no-install-recommends" in command
                assert "rm -rf /var/lib/apt/lists/*" in rest
