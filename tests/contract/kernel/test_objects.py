"""The objects that a kernel holds after operations, and the operations that it refuses: the same tests for fake and Linux."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.model.addr import parse_prefix
from netorch.plan.diff import diff
from netorch.state.base import KernelObject
from netorch.state.l3 import UNREACHABLE, Route, Rule
from netorch.state.link import AdminUp, Gro, IncompleteLink, Sysctl
from netorch.state.nft import NFT_KINDS, NftChain, NftTable
from netorch.state.op import Create, Delete, Replace
from netorch.state.tc import EGRESS, Drop, Nat, Receive, Redirect
from policy import nftgen
from tests import chains
from tests.contract.kernel.stands import (
    ADDRESS,
    CABLE,
    CHAIN,
    CLSACT,
    ELEMENTS,
    FDB,
    FILTER,
    MAC,
    NEIGHBOUR,
    OUTSIDE_CHAIN,
    PORT,
    PORT_ROUTE,
    REMOTE_ROUTE,
    TABLES,
    TAP_PORT,
    VETH,
    VNI,
    VPC,
    VRF,
    VXLAN,
    ZONE,
    Stand,
    by_key,
    create,
    missing,
    refusals,
    there,
)


def test_a_dump_gives_back_what_was_applied(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    assert missing(stand.kernel, *VPC) == []


def test_nothing_of_ours_is_on_a_fresh_host(stand: Stand) -> None:
    assert [obj for obj in stand.kernel.dump().values() if not isinstance(obj, Sysctl)] == []


def test_creating_again_what_is_there_is_no_error(stand: Stand) -> None:
    create(stand.kernel, *VPC)
    create(stand.kernel, *VPC)
    assert missing(stand.kernel, *VPC) == []


def test_deleting_everything_leaves_nothing(stand: Stand) -> None:
    before = stand.kernel.dump()
    create(stand.kernel, *VPC)
    ops = diff({}, by_key(*VPC))
    assert stand.kernel.apply(ops) == []
    left = {key: obj for key, obj in stand.kernel.dump().items() if not isinstance(obj, Rule)}
    assert left == before  # the kernel also makes the VRFs' rules, and keeps them


def test_deleting_what_is_gone_is_no_error(stand: Stand) -> None:
    assert stand.kernel.apply([Delete(obj) for obj in reversed(VPC) if not isinstance(obj, Sysctl)]) == []


ORPHANS: tuple[tuple[KernelObject, int], ...] = (
    (VXLAN, errno.ENODEV),
    (VETH, errno.ENODEV),
    (TAP_PORT, errno.ENODEV),
    (CABLE[0], errno.ENODEV),
    (CLSACT, errno.ENODEV),
    (FILTER, errno.ENODEV),
    (PORT_ROUTE, errno.ENODEV),
    (REMOTE_ROUTE, errno.ENODEV),
    (NEIGHBOUR, errno.ENODEV),
    (FDB, errno.ENODEV),
    (ADDRESS, errno.ENODEV),
    (Gro(vni=VNI, ifname="vx5000", on=False), errno.ENODEV),
    (AdminUp(vni=VNI, ifname="vx5000"), errno.ENODEV),
    (CHAIN, errno.ENOENT),
    (ELEMENTS[0], errno.ENOENT),
    (ELEMENTS[2], errno.ENOENT),
    (chains.MAPS[0], errno.ENOENT),
    (chains.ACL_CHAIN, errno.ENOENT),
    (chains.PEERS[0], errno.ENOENT),
)


@pytest.mark.parametrize(("orphan", "number"), ORPHANS, ids=lambda value: "-".join(map(str, getattr(value, "key", ("",))[:2])))
def test_a_child_without_its_parent_is_refused(stand: Stand, orphan: KernelObject, number: int) -> None:
    assert refusals(stand.kernel, Create(orphan)) == [(orphan, number)]
    left = stand.kernel.dump().get(orphan.key)
    assert left is None or isinstance(left, IncompleteLink)


def test_one_refused_operation_does_not_stop_the_others(stand: Stand) -> None:
    stray = Route(vni=VNI, table=VNI, dst="10.0.0.99/32", ifname="vx6000", via="192.0.2.12")
    homeless = msgspec.structs.replace(ELEMENTS[0], set="nowhere")
    objects = list(VPC)
    objects.insert(objects.index(ELEMENTS[1]), homeless)
    objects.insert(objects.index(REMOTE_ROUTE), stray)
    assert refusals(stand.kernel, *map(Create, objects)) == [(homeless, errno.ENOENT), (stray, errno.ENODEV)]
    assert missing(stand.kernel, *VPC) == []


def test_a_route_through_a_device_that_is_down_is_refused(stand: Stand) -> None:
    create(stand.kernel, VRF, VXLAN)
    assert refusals(stand.kernel, Create(REMOTE_ROUTE)) == [(REMOTE_ROUTE, errno.ENETDOWN)]


def test_a_vni_belongs_to_one_device(stand: Stand) -> None:
    create(stand.kernel, VRF, VXLAN)
    second = msgspec.structs.replace(VXLAN, ifname="vx6000")
    assert refusals(stand.kernel, Create(second)) == [(second, errno.EEXIST)]


def test_a_device_of_another_kind_stands_in_the_way(stand: Stand) -> None:
    create(stand.kernel, VRF)
    other = msgspec.structs.replace(VRF, table=VNI + 1)
    assert refusals(stand.kernel, Create(other)) == [(other, errno.EEXIST)]
    assert missing(stand.kernel, VRF) == []


def test_somebody_elses_route_is_neither_seen_nor_replaced(stand: Stand) -> None:
    create(stand.kernel, VRF, AdminUp(vni=VNI, ifname="vrf5000"))
    theirs = Route(vni=VNI, table=VNI, dst="10.9.0.0/16", type=UNREACHABLE, metric=77)
    stand.foreigner_makes_route(theirs)
    assert not there(stand.kernel, theirs)
    assert refusals(stand.kernel, Create(theirs)) == [(theirs, errno.EEXIST)]
    assert stand.foreigner_has_route(theirs)


CHANGES: tuple[tuple[KernelObject, KernelObject], ...] = (
    (REMOTE_ROUTE, msgspec.structs.replace(REMOTE_ROUTE, via="192.0.2.13")),
    (REMOTE_ROUTE, msgspec.structs.replace(REMOTE_ROUTE, via="", ifname=PORT)),
    (NEIGHBOUR, msgspec.structs.replace(NEIGHBOUR, lladdr="02:4e:c0:00:02:0d")),
    (FDB, msgspec.structs.replace(FDB, dst="192.0.2.13")),
    (VXLAN, msgspec.structs.replace(VXLAN, mtu=1400)),
    (VXLAN, msgspec.structs.replace(VXLAN, group=7)),
    (CABLE[0], msgspec.structs.replace(CABLE[0], mtu=1400)),
    (FILTER, msgspec.structs.replace(FILTER, actions=(Receive(mark=8), Redirect(CABLE[1].ifname)))),
    (FILTER, msgspec.structs.replace(FILTER, actions=(Nat(EGRESS, "10.0.0.11/32", "198.51.100.5"), Redirect("vx5000", EGRESS)))),
    (FILTER, msgspec.structs.replace(FILTER, actions=(Drop(),))),
    (VETH, msgspec.structs.replace(VETH, mtu=1400)),
    (CHAIN, nftgen.port_chain(VNI, PORT, MAC, "10.0.0.12", ())),
    (OUTSIDE_CHAIN, nftgen.outside_chain(VNI, [parse_prefix("10.0.0.0/16")])),
    (chains.PEERS[0], msgspec.structs.replace(chains.PEERS[0], value="0x7")),
    (chains.ACL_CHAIN, msgspec.structs.replace(chains.ACL_CHAIN, sets=chains.chain_sets(chains.ACL, "net4", "net6", "port4"))),
    (chains.BORDER_CHAIN, msgspec.structs.replace(chains.BORDER_CHAIN, rules=(f"goto {chains.EGRESS}",))),
    (TABLES[0], msgspec.structs.replace(TABLES[0], body=TABLES[0].body + "counter extra {\n}\n")),
)


@pytest.mark.parametrize(("old", "new"), CHANGES, ids=lambda obj: str(obj.key[0]))
def test_a_replaced_object_leaves_the_others_as_they_are(stand: Stand, old: KernelObject, new: KernelObject) -> None:
    create(stand.kernel, *VPC)
    assert stand.kernel.apply([Replace(old, new)]) == []
    assert missing(stand.kernel, *(new if obj == old else obj for obj in VPC)) == []


def test_a_replaced_table_keeps_what_it_holds(stand: Stand) -> None:
    create(stand.kernel, VRF, VETH, *TABLES, CHAIN, OUTSIDE_CHAIN, *ELEMENTS)
    for table in TABLES:
        newer = msgspec.structs.replace(table, body=table.body + "counter extra {\n}\n")
        assert stand.kernel.apply([Replace(table, newer)]) == []
    found = stand.kernel.dump(NFT_KINDS)
    assert {key: obj for key, obj in found.items() if not isinstance(obj, NftTable)} == by_key(CHAIN, OUTSIDE_CHAIN, *ELEMENTS)


def test_a_replaced_table_keeps_the_policies_of_vpcs(stand: Stand) -> None:
    create(stand.kernel, *TABLES, *chains.POLICY, *chains.verdicts(PORT), ZONE)
    newer = msgspec.structs.replace(TABLES[1], body=TABLES[1].body + "counter extra {\n}\n")
    assert stand.kernel.apply([Replace(TABLES[1], newer)]) == []
    assert missing(stand.kernel, newer, *chains.POLICY, *chains.verdicts(PORT), ZONE) == []


def test_what_leads_nowhere_is_refused(stand: Stand) -> None:
    pit = msgspec.structs.replace(chains.verdicts(PORT)[0], value="goto nowhere")
    blind = NftChain(vni=VNI, name="acl-001388-00000000002-egress", rules=("ip daddr @nowhere accept",))
    create(stand.kernel, *TABLES)
    assert refusals(stand.kernel, Create(chains.BORDER_CHAIN)) == [(chains.BORDER_CHAIN, errno.ENOENT)]
    assert refusals(stand.kernel, Create(blind)) == [(blind, errno.ENOENT)]
    assert refusals(stand.kernel, Create(pit)) == [(pit, errno.ENOENT)]
    assert not any(there(stand.kernel, obj) for obj in (chains.BORDER_CHAIN, blind, pit))


def test_what_something_leads_to_is_not_deleted(stand: Stand) -> None:
    create(stand.kernel, *TABLES, *chains.POLICY, *chains.verdicts(PORT))
    for used in (chains.MAPS[0], chains.ACL_CHAIN, chains.INGRESS_CHAIN):
        assert refusals(stand.kernel, Delete(used)) == [(used, errno.EBUSY)]
    assert missing(stand.kernel, *TABLES, *chains.POLICY, *chains.verdicts(PORT)) == []


def test_nobody_asks_for_an_incomplete_device(stand: Stand) -> None:
    half = IncompleteLink(vni=VNI, ifname="vx5000")
    assert refusals(stand.kernel, Create(half)) == [(half, errno.EINVAL)]
