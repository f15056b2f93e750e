"""The units: what systemd itself says of them, and what they have to say."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from ptraced import privileges
from ptraced.config import Server
from unprivileged import PROJECT

SYSTEMD = PROJECT / "systemd"


class Unit(configparser.RawConfigParser):
    """A unit file, without settings that stand in it more than once."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None)
        self.read(SYSTEMD / name)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_service_is_exposed_little() -> None:
    said = analyze("security", "--offline=true", SYSTEMD / "ptraced.service")

    found = re.search(r"Overall exposure level for ptraced.service: ([\d.]+)", said.stdout)
    assert found, said.stderr
    assert float(found[1]) < 2.0


@pytest.mark.parametrize("network", [False, True], ids=["as it is", "with the network"])
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path, network: bool) -> None:
    # GIVEN the units on a machine that has the daemon
    for name in ("ptraced.service", "ptraced.socket"):
        text = (SYSTEMD / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/ptraced", "/bin/true"))
    if network:
        (tmp_path / "ptraced.service.d").mkdir()
        drop_in = (SYSTEMD / "ptraced-network.conf").read_text()
        (tmp_path / "ptraced.service.d/network.conf").write_text(drop_in)

    said = analyze("verify", "--man=no", tmp_path / "ptraced.socket", tmp_path / "ptraced.service")

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_service_has_just_the_capabilities_that_are_needed() -> None:
    service = Unit("ptraced.service")["Service"]
    needed = {capability.name for capability in privileges.NEEDED}
    assert set(service["AmbientCapabilities"].split()) == needed
    assert set(service["CapabilityBoundingSet"].split()) == needed
    assert (service["User"], service["NoNewPrivileges"]) == ("ptraced", "yes")


def test_a_stuck_daemon_is_noticed_and_a_dead_one_started_again() -> None:
    service = Unit("ptraced.service")["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")
    assert int(service["WatchdogSec"]) > 0
    # Its helpers die for the memory that they take; the daemon starts others.
    assert service["OOMPolicy"] == "continue"


def test_socket_and_daemon_mean_the_same_place() -> None:
    socket, server = Unit("ptraced.socket")["Socket"], Server()
    assert Path(socket["ListenStream"]) == server.socket
    assert int(socket["SocketMode"], 8) == server.socket_mode
    assert socket["SocketGroup"] == server.socket_group


def test_users_groups_and_directories_are_made_before_they_are_named() -> None:
    made = (SYSTEMD / "ptraced.sysusers").read_text()
    service = Unit("ptraced.service")["Service"]
    for group in ("ptrace", "ptrace-admin"):
        assert f"\ng {group} -\n" in made
    assert f"\nu {service['User']} - " in made
    assert f"\nm {service['User']} {service['SupplementaryGroups']}\n" in made
    directories = (SYSTEMD / "ptraced.tmpfiles").read_text()
    for kind, place in (("Runtime", "/run"), ("State", "/var/lib"), ("Logs", "/var/log")):
        mode = service[f"{kind}DirectoryMode"]
        path = f"{place}/{service[f'{kind}Directory']}"
        assert f"\nd {path} {mode} ptraced ptraced\n" in directories
