"""The configuration files of an edge's birds. A review reads their changes; bird itself parses them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec
import pytest

from netorch.drivers.bird.border import Border
from netorch.drivers.bird.config import Config, read, write
from netorch.drivers.bird.customers import Customers
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import Announcement, BgpPeer, CustomerPeer
from netorch.state.names import VPN_GATEWAY_NUMBER, vrf_name, vrf_table

HERE: Final = Path(__file__).parent
KEY: Final = "tiger-of-the-customer"

PEER: Final = BgpPeer(local="198.51.100.21", local_asn=64601, remote="198.51.100.254", remote_asn=64512, local6="2001:db8::21")
ANNOUNCEMENTS: Final = tuple(Announcement(prefix=prefix) for prefix in ("203.0.113.0/24", "2001:db8:1::/48"))


def customer(vni: int, name: str, ifname: str, metric: int, net: int, *, bfd: bool = False, secret: str = "") -> CustomerPeer:
    return CustomerPeer(
        vni=vni,
        name=name,
        ifname=ifname,
        vrf=vrf_name(vni),
        table=vrf_table(vni, VPN_GATEWAY_NUMBER),
        metric=metric,
        local=f"169.254.{net}.1",
        local_asn=64512,
        remote=f"169.254.{net}.2",
        remote_asn=65001,
        announces=("10.0.0.0/16", "10.7.0.0/16"),
        refuses=("10.0.0.0/16", "10.7.0.0/16"),
        limit=100,
        bfd=bfd,
        secret=secret,
    )


TUNNEL = customer(5000, "vpn_00138800000000001_1", "x-0013880000000", 3000, 10)
PORT = customer(5000, "dxvif_00138800000000002", "d-0013880000000", 1000, 50, bfd=True, secret="c2VhbGVk")
OTHER = customer(5001, "vpn_00138900000000003_2", "y-0013890000000", 3000, 10)  # same addresses and AS numbers, in another VPC
QUIET = msgspec.structs.replace(OTHER, announces=())
KEYS: Final = {"customer_dxvif_00138800000000002": KEY}

CASES: dict[str, tuple[type[Config], tuple[KernelObject, ...], dict[str, str]]] = {
    "border": (Border, (PEER, *ANNOUNCEMENTS), {"border_198_51_100_254": KEY}),
    "customers": (Customers, (TUNNEL, PORT, OTHER), KEYS),
    "quiet": (Customers, (QUIET,), {}),
}


def text_of(case: str) -> str:
    of, objects, keys = CASES[case]
    return write(of.of("netorch-0123456789abcdef", sorted(objects, key=lambda obj: obj.key)), keys)


@pytest.mark.parametrize("case", CASES)
def test_bird_gets_this_file(case: str) -> None:
    golden = HERE / f"{case}.txt"
    if os.environ.get("NETORCH_UPDATE_GOLDEN"):
        golden.write_text(text_of(case))
    assert text_of(case) == golden.read_text()


@pytest.mark.parametrize("case", CASES)
def test_bird_takes_this_file(case: str, tmp_path: Path) -> None:
    file = tmp_path / "bird.conf"
    file.write_text(text_of(case))
    program = shutil.which("bird", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None
    done = subprocess.run([program, "-p", "-c", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("case", CASES)
def test_a_file_is_read_as_it_was_written(case: str) -> None:
    of, objects, keys = CASES[case]
    found = read(of, text_of(case))
    assert found is not None
    assert (set(found[0].objects), found[1]) == (set(objects), keys)


@pytest.mark.parametrize("case", ["border", "customers"])
def test_a_key_stands_in_one_line_of_its_session_only(case: str) -> None:
    lines = [line.strip() for line in text_of(case).splitlines() if KEY in line]
    assert lines == [f'password "{KEY}";']


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("169.254.0.0/16+", "169.254.9.0/24+"),
        ("import limit 100", "import limit 900"),
        ("krt_source != 200", "krt_source != 3"),
        ("# netorch", "# somebody"),
    ],
)
def test_a_file_of_customers_that_somebody_has_edited_is_none_of_ours(old: str, new: str) -> None:
    text = text_of("customers")
    assert old in text
    assert read(Customers, text.replace(old, new)) is None


def test_a_session_that_comes_changes_nothing_in_the_blocks_of_others() -> None:
    """bird compares block by block, and leaves unchanged blocks alone; so existing sessions survive a new one."""
    _, objects, keys = CASES["customers"]
    assert set(Customers.of("x", objects[:1]).blocks({})) <= set(Customers.of("x", objects).blocks(keys))


def test_each_text_of_the_folder_is_one_of_a_case() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == CASES.keys()
