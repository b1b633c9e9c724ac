"""The systemd units: their commands exist, and no setting moves the service to another mount or network namespace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.drivers.charon.settings import settings
from tests.rig.agents import restricted

ALL = sorted((Path(__file__).parents[4] / "systemd").glob("*.service"))
ENROLMENT = ALL[1]
UNITS = [unit for unit in ALL if unit != ENROLMENT]  # of the agent
# Settings that make systemd give a service a mount namespace: systemd.exec(5), and exec_needs_mount_namespace() of its source.
MOUNTS = re.compile(
    r"^(Private(Tmp|Mounts|Devices|IPC)|Protect(System|Home|Kernel\w+|ControlGroups|Proc)|ProcSubset|ReadWritePaths|ReadOnlyPaths|"
    r"InaccessiblePaths|ExecPaths|NoExecPaths|Bind\w*Paths|TemporaryFileSystem|RootDirectory|RootImage|MountFlags|MountImages|"
    r"DynamicUser|NetworkNamespacePath|PrivateNetwork)$"
)


def said(unit: Path) -> dict[str, str]:
    """Return the last value of each setting of a unit."""
    return dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#"))


def test_there_is_a_unit_for_the_agent_one_for_boot_and_one_for_enrolment() -> None:
    assert [unit.name for unit in ALL] == ["netorch-agent.service", "netorch-enrolment.service", "netorch-restore.service"]


def test_the_enrolment_service_may_do_nothing_but_serve() -> None:
    settings = said(ENROLMENT)
    wanted = {"ProtectSystem": "strict", "CapabilityBoundingSet": "", "NoNewPrivileges": "yes", "UMask": "0077"}
    assert {name: settings.get(name) for name in wanted} == wanted
    assert CliRunner().invoke(cli, [*settings["ExecStart"].split()[1:], "--help"]).exit_code == 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_ends_the_agent_only_and_gives_it_no_mount_namespace(unit: Path) -> None:
    settings = said(unit)
    assert settings["KillMode"] == "process", "bird outlives the agent"
    assert not [name for name in settings if MOUNTS.match(name)], "namespaces in /run/netns must be seen by all"
    assert not [name for name in settings if name.startswith(("ExecStop", "ExecReload"))], "a stop takes nothing away"
    words = settings["ExecStart"].split()
    assert words[0] == "netorch"
    assert CliRunner().invoke(cli, [*words[1:], "--help"]).exit_code == 0


def test_the_agent_is_watched_restarted_and_keeps_its_directories() -> None:
    settings = said(UNITS[0])
    wanted = {"Type": "notify", "Restart": "always", "RuntimeDirectoryPreserve": "yes", "StateDirectory": "netorch"}
    assert {name: settings.get(name) for name in wanted} == wanted
    assert "WatchdogSec" in settings


def test_what_is_restored_is_there_before_the_network_and_after_nftables_has_flushed() -> None:
    settings = said(UNITS[1])
    assert {"network-pre.target", "network.target"} <= set(settings["Before"].split())
    assert "nftables.service" in settings["After"].split()
    assert settings["DefaultDependencies"] == "no"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    netorch = Path(sys.executable).with_name("netorch")
    for unit in ALL:
        (tmp_path / unit.name).write_text(unit.read_text().replace("ExecStart=netorch", f"ExecStart={netorch}"))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in ALL)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


DAEMONS = """
ip link set lo up
cd {directory}
{rights} bird -f -u bird -g bird -c bird.conf -s bird.ctl & bird=$!
STRONGSWAN_CONF=charon.conf {rights} /usr/sbin/charon-systemd & charon=$!
for _ in $(seq 600); do [ -S bird.ctl ] && [ -S charon.vici ] && break; sleep 0.1; done
birdc -s bird.ctl show status | tail -1
ip route show proto bird
swanctl --stats --uri unix://{directory}/charon.vici | grep -c 'loaded plugins'
kill $bird $charon
wait
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("birdc") is None, reason="needs root, and bird")
@pytest.mark.skipif(not Path("/usr/sbin/charon-systemd").exists(), reason="charon-systemd is not installed here")
def test_bird_and_charon_work_with_the_capabilities_that_the_agent_may_give_them(tmp_path: Path) -> None:
    (tmp_path / "bird.conf").write_text(
        "router id 192.0.2.1; protocol device {} protocol kernel { ipv4 { export all; }; }"
        "protocol static { ipv4; route 203.0.113.0/24 blackhole; }"
    )
    (tmp_path / "charon.conf").write_text(settings(tmp_path, 1))
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    shutil.chown(tmp_path, "bird", "bird")
    script = DAEMONS.format(directory=tmp_path, rights=" ".join(restricted()))
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["Daemon is up and running", "blackhole 203.0.113.0/24 metric 32 ", "1"], done.stderr
