"""Names and numbers of devices, tables and chains, in both directions."""

from __future__ import annotations

import pytest

from netorch.model.ids import VNI_FIRST, VNI_LAST, make_id, port_name
from netorch.model.rules import host_name
from netorch.state.base import HOST_SLICE, OUTSIDE, OVERLAY, UNDERLAY
from netorch.state.link import vrf_of
from netorch.state.names import (
    CABLE_LETTERS,
    VPN_GATEWAY_NUMBER,
    VRF_NUMBER_LAST,
    acl_name,
    answered_name,
    answers_name,
    border_name,
    cable_end_name,
    flow_name,
    is_cable_end,
    is_in_flowtable_name,
    is_port,
    ports_of_border,
    vni_of_chain,
    vni_of_device,
    vni_of_element,
    vni_of_ifname,
    vni_of_netns,
    vni_of_table,
    vrf_of_table,
)
from netorch.state.owner import is_overlay, label_of, netns_name, overlay_netns


@pytest.mark.parametrize("vni", [VNI_FIRST, 5000, VNI_LAST])
@pytest.mark.parametrize("number", [0, 1, 126, 200, VPN_GATEWAY_NUMBER, VRF_NUMBER_LAST])
def test_a_vrf_and_its_table_belong_to_their_vpc(vni: int, number: int) -> None:
    vrf = vrf_of(vni, number)
    assert len(vrf.ifname) < 16, "IFNAMSIZ, with the zero at the end"
    assert 0 < vrf.table < 1 << 32
    assert vni_of_ifname(vrf.ifname) == vni_of_table(vrf.table) == vrf.vni == vni
    assert vrf_of_table(vrf.table) == vrf.ifname


def test_each_vrf_of_a_vpc_has_a_table_of_its_own_and_bird_can_read_that_of_a_vpn_gateway() -> None:
    tables = {number: vrf_of(VNI_LAST, number).table for number in range(VRF_NUMBER_LAST + 1)}
    assert len(set(tables.values())) == len(tables)
    assert tables[VPN_GATEWAY_NUMBER] < 1 << 31


@pytest.mark.parametrize("vni", [VNI_FIRST, VNI_LAST])
def test_a_port_belongs_to_its_vpc(vni: int) -> None:
    assert vni_of_ifname(port_name(make_id("eni", vni, 0xABCDEF01234))) == vni


@pytest.mark.parametrize("letter", CABLE_LETTERS)
def test_a_cable_s_end_belongs_to_the_vpc_that_it_is_in(letter: str) -> None:
    name = cable_end_name(letter, 6000, make_id("eni", 5000, 0xABCDEF01234))
    assert name == f"{letter}-001770abcdef0"
    assert vni_of_ifname(name) == 6000
    assert is_cable_end(name)
    assert not is_port(name)


@pytest.mark.parametrize("name", ["v-0013880000001", "p-00138", "p", "", "pq-001388000000", "z-0013880000001"])
def test_other_names_are_no_cable_s_ends(name: str) -> None:
    assert not is_cable_end(name)
    assert is_port(name) == (name == "v-0013880000001")


@pytest.mark.parametrize(
    "name", ["eth0", "lo", "vrf", "vrf5000.", "vrf5000.x", "vx5000.1", "vxlan", "v-00138", "z-0013880000001", "?"]
)
def test_other_devices_belong_to_no_vpc(name: str) -> None:
    assert vni_of_ifname(name) == HOST_SLICE


@pytest.mark.parametrize(
    ("name", "vni"),
    [("identity-001388.4", 5000), ("egress-001388-0000beef", 5000), ("acl-001388-00000000001-egress.port4", 5000)]
    + [(shared, HOST_SLICE) for shared in ("senders4", "from_port", "x-00138", "class-001388x", "class-00138g.4")],
)
def test_a_chain_belongs_to_the_vpc_behind_its_dash(name: str, vni: int) -> None:
    assert vni_of_chain(name) == vni


def test_chains_that_flows_rest_on_belong_to_their_vpc_and_stand_in_the_name_of_its_flowtable() -> None:
    subnet, acl = make_id("subnet", 5000, 0xABCDEF01234), make_id("acl", 5000, 0xABCDEF01234)
    made = [
        border_name(5000, subnet, 0xBEEF, "egress"),
        acl_name(5000, acl, "ingress"),
        answers_name(5000, subnet, "ingress"),
        answered_name(5000),
        flow_name(5000, "known", "egress"),
    ]
    assert made[0] == "border-001388-abcdef01234-0000beef-egress"
    assert [(vni_of_chain(name), is_in_flowtable_name(name)) for name in made] == [(5000, True)] * len(made)
    assert not any(map(is_in_flowtable_name, ("egress-001388-0000beef", "flows-001388-1", "from_port")))


def test_a_border_says_whose_ports_it_is_for_whatever_they_send() -> None:
    def verdict(subnet: int, groups: int, packets: str) -> str:
        return f"jump {border_name(5000, make_id('subnet', 5000, subnet), groups, packets)}"

    assert ports_of_border(verdict(1, 1, "egress")) == ports_of_border(verdict(1, 1, "forwarder"))
    assert len({ports_of_border(verdict(subnet, groups, "egress")) for subnet in (1, 2) for groups in (1, 2)}) == 4


@pytest.mark.parametrize(
    ("holder", "items", "vni"),
    [
        ("identity-001388.4", ("10.0.0.1",), 5000),
        ("zone", ("vrf5000.1",), 5000),
        ("egress_policy", ("v-0013880000001",), 5000),
        ("senders4", ("192.0.2.12", "0x8000000", "0x138800", "0xa000001"), 5000),
        ("zone", ("eth0",), HOST_SLICE),
    ],
)
def test_an_element_belongs_to_the_vpc_of_its_set_its_device_or_its_header(holder: str, items: tuple[str, ...], vni: int) -> None:
    assert vni_of_element(holder, items) == vni


def test_what_is_in_a_gateway_s_namespace_belongs_to_its_vpc() -> None:
    label = make_id("nat", 5000, 0xABC)
    assert vni_of_netns(label) == vni_of_device("eth0", label) == vni_of_device("eth1", label) == 5000
    assert [vni_of_device(name, label) for name in ("lo", "dummy0", "ethernet", "v-0017700000001")] == [HOST_SLICE] * 4


@pytest.mark.parametrize("label", [UNDERLAY, OVERLAY, OUTSIDE, "nat-0", "netorch-hv1"])
def test_shared_namespaces_belong_to_no_vpc(label: str) -> None:
    assert vni_of_netns(label) == HOST_SLICE
    assert vni_of_device("o-0013880000001", label) == 5000
    assert vni_of_device("eth0", label) == HOST_SLICE


@pytest.mark.parametrize("host", ["e1", "e1.west", "e-1_a", "nat", "e1-outside"])
def test_a_namespace_s_name_says_whose_it_is_and_what_for(host: str) -> None:
    assert host_name(host) is None, "a host may be called that"
    for label in (OUTSIDE, make_id("nat", VNI_LAST, 0xABC)):
        name = netns_name(host, label)
        assert label_of(name, host) == label
        assert host_name(name.removeprefix("netorch-")) is not None, "no host's overlay has that name"
        assert not is_overlay(name)
        assert [label_of(name, other) for other in ("e", "e1-", f"{host}2")] == ["", "", ""]
    assert label_of(overlay_netns(host), host) == ""
    assert is_overlay(overlay_netns(host))
