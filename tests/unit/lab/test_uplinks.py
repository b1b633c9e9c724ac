"""The devices that `netorch doctor --uplink` accepts, from files as Linux shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.lab.uplinks import bird_warnings, uplink_features

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with eth0, which has the default route, and eth2, both with a carrier."""
    for name in ("eth0", "eth2", "bond0", "br0"):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "carrier").write_text("1\n")
    (tmp_path / "sys/class/net/bond0/bonding").mkdir()
    (tmp_path / "sys/class/net/br0/bridge").mkdir()
    (tmp_path / "proc/net").mkdir(parents=True)
    by_eth0 = "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    by_eth2 = "eth2\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    (tmp_path / "proc/net/route").write_text(HEAD + by_eth0 + by_eth2)
    return tmp_path


def missing(machine: Path, device: str) -> dict[str, tuple[str, str]]:
    """Return the missing features of a device, with the problem and the fix of each."""
    return {found.name: (found.detail, found.what_to_do) for found in uplink_features(device, machine) if not found.present}


def test_a_device_that_nobody_uses_will_do(machine: Path) -> None:
    assert missing(machine, "eth2") == {}
    assert len(uplink_features("eth2", machine)) == 4


def test_the_device_of_the_default_route_is_not_free(machine: Path) -> None:
    ((name, (detail, fix)),) = missing(machine, "eth0").items()
    assert (name, detail) == ("eth0 is free", "this machine's default route uses it")
    assert "otherwise it loses its network" in fix


@pytest.mark.parametrize(("device", "kind"), [("bond0", "a bond"), ("br0", "a bridge")])
def test_a_device_that_linux_does_not_move_needs_a_vlan_subinterface(machine: Path, device: str, kind: str) -> None:
    ((name, (detail, fix)),) = missing(machine, device).items()
    assert name == f"{device} can be moved"
    assert kind in detail
    assert f"ip link add link {device} name {device}.100 type vlan id 100" in fix


def test_a_port_of_a_bond_is_not_moved(machine: Path) -> None:
    (machine / "sys/class/net/eth2/master").symlink_to(machine / "sys/class/net/bond0")
    assert missing(machine, "eth2")["eth2 can be moved"][0] == "it is a port of bond0"


def test_a_device_without_carrier_or_that_is_not_there(machine: Path) -> None:
    (machine / "sys/class/net/eth2/carrier").unlink()  # like a device that is down
    assert list(missing(machine, "eth2")) == ["carrier of eth2"]
    assert list(missing(machine, "eth9")) == ["uplink eth9"]


def test_a_bird_of_the_machine_is_mentioned(tmp_path: Path) -> None:
    assert list(bird_warnings(tmp_path)) == []
    wanted = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(parents=True)
    (wanted / "bird.service").touch()
    (warning,) = bird_warnings(tmp_path)
    assert "systemctl disable --now bird.service" in warning


def test_an_uplink_that_is_missing_is_the_doctors_business() -> None:
    done = CliRunner().invoke(cli, ["doctor", "--uplink", "nothere0"])
    assert done.exit_code == 2
    assert "missing uplink nothere0: name a device that `ip link` shows" in done.output
