from __future__ import annotations

import msgspec
import pytest

from netorch.compiler.base import HostPart, MappingPart, VpcPart, VpcView
from netorch.compiler.registry import (
    check_coverage,
    compile_host,
    compile_host_part,
    compile_slice,
    inputs_of,
    load_compilers,
    parts_of,
)
from netorch.errors import CompileError
from netorch.model.eni import Instance, NetworkInterface
from netorch.model.mapping import Mapping
from netorch.model.security import SecurityGroup
from netorch.model.vpc import RouteTable, Subnet, Vpc
from netorch.state.base import KernelObject
from netorch.state.l3 import Neighbour, Rule
from netorch.state.link import Vrf
from tests.golden.cases import EniCase, SubnetCase
from tests.golden.clouds import COMPILERS, CloudCase, VpcCase, host_view, mappings, vpc_view
from tests.views import OneOff, mapping_objects, vpc_objects

VPC = VpcCase(
    vni=5000,
    cidrs=("10.0.0.0/16",),
    subnets={"s": SubnetCase("10.0.0.0/24")},
    enis={"a": EniCase("s", "10.0.0.4", "hv1"), "b": EniCase("s", "10.0.0.5", "hv2")},
)
CLOUD = CloudCase(hosts={"hv1": "192.0.2.11", "hv2": "192.0.2.12"}, vpcs=(VPC,))
_view = vpc_view(CLOUD, VPC, "hv1")
assert _view is not None
VIEW = _view
assert VIEW is not None
REMOTE = next(mapping for mapping in mappings(CLOUD, VPC) if mapping.host == "hv2")


def fixed(name: str, *objects: KernelObject) -> OneOff:
    """Return a compiler that yields the same objects for every part."""
    return OneOff(
        name,
        HostPart(id=f"{name}.host", compile=lambda _view, _carried: objects),
        VpcPart(id=name, compile=lambda _view: objects, inputs=frozenset({Vpc})),
        MappingPart(id=f"{name}.mapping", compile=lambda _view, _mapping: objects),
    )


def test_the_built_in_compilers_are_found_by_their_entry_points() -> None:
    names = [compiler.name for compiler in load_compilers()]
    assert names == sorted(names)
    assert {"vrf", "overlay", "ports"} <= set(names)


def test_the_built_in_compilers_read_every_stored_type() -> None:
    check_coverage(COMPILERS, [Vpc, Subnet, RouteTable, NetworkInterface, Instance, Mapping])


def test_the_views_of_tests_have_all_that_the_compilers_read() -> None:
    assert inputs_of(load_compilers()) <= VIEW.inputs.keys()


def test_a_host_part_that_reads_vpcs_names_the_classes_of_its_objects() -> None:
    rule = Rule(version=4, priority=9, table=9)
    part = HostPart(id="odd", compile=lambda _view, _carried: [rule], inputs=frozenset({Vpc}))
    with pytest.raises(CompileError, match=r"compiler odd: .* is a Rule; add the class to its `yields`"):
        compile_host_part(part, VIEW.host, {})
    named = msgspec.structs.replace(part, yields=frozenset({Rule}))
    assert compile_host_part(named, VIEW.host, {}) == {rule.key: rule}


def test_a_type_that_nobody_reads_is_an_error() -> None:
    with pytest.raises(CompileError, match="none reads Firewall; install"):
        check_coverage(COMPILERS, [Vpc, type("Firewall", (), {})])


def test_two_compilers_that_disagree_are_both_named() -> None:
    pair = (fixed("one", Vrf(vni=5000, ifname="vrf5000", table=5000)), fixed("two", Vrf(vni=5000, ifname="vrf5000", table=5001)))
    with pytest.raises(CompileError, match="compilers one and two disagree about link vrf5000"):
        vpc_objects(pair, VIEW)


def test_two_compilers_that_agree_share_the_object() -> None:
    vrf = Vrf(vni=5000, ifname="vrf5000", table=5000)
    pair = (fixed("one", vrf), fixed("two", Vrf(vni=5000, ifname="vrf5000", table=5000)))
    assert vpc_objects(pair, VIEW) == {vrf.key: vrf}


@pytest.mark.parametrize("stray", [Vrf(vni=5001, ifname="vrf5001", table=5001), Rule(version=4, priority=1, table=1)])
def test_an_object_of_another_slice_is_refused(stray: KernelObject) -> None:
    with pytest.raises(CompileError, match=r"compiler one: .* belongs to slice \d+, not to 5000"):
        vpc_objects([fixed("one", stray)], VIEW)
    with pytest.raises(CompileError, match=r"compiler one\.mapping"):
        mapping_objects([fixed("one", stray)], VIEW, REMOTE)


def test_a_host_wide_object_carries_no_vni() -> None:
    with pytest.raises(CompileError, match=r"compiler one\.host: link vrf5000 belongs to slice 5000, not to 0"):
        compile_host([fixed("one", Vrf(vni=5000, ifname="vrf5000", table=5000))], host_view(CLOUD, "hv1"))


def test_a_mapping_that_contradicts_its_vpc_is_found_by_compiling_all() -> None:
    wrong = Neighbour(vni=5000, ifname="vx5000", dst="192.0.2.12", lladdr="02:00:00:00:00:01")
    names = r"compilers one and overlay\.mapping \(10.0.0.5\)"
    with pytest.raises(CompileError, match=f"{names} disagree about neigh vx5000 192.0.2.12"):
        compile_slice([fixed("one", wrong), *COMPILERS], VIEW, [REMOTE])


def test_mappings_to_one_host_share_its_entries() -> None:
    twice = [REMOTE, Mapping(vni=5000, address="10.0.0.6", eni="e", mac=REMOTE.mac, host="hv2", vtep="192.0.2.12")]
    kinds = [key[0] for mapping in twice for key in mapping_objects(COMPILERS, VIEW, mapping)]
    assert sorted(kinds) == ["fdb", "fdb", "neigh", "neigh", "route", "route"]
    together = compile_slice(COMPILERS, VIEW, twice).keys() - vpc_objects(COMPILERS, VIEW).keys()
    assert sorted(key[0] for key in together) == ["fdb", "neigh", "route", "route"]


def test_two_parts_with_one_id_are_refused() -> None:
    with pytest.raises(CompileError, match="two parts have the id one"):
        parts_of([fixed("one"), fixed("one")], VpcPart)


def test_a_part_cannot_read_what_it_does_not_name() -> None:
    def compile_it(view: VpcView) -> list[KernelObject]:
        return [Vrf(vni=VIEW.vni, ifname=group.name, table=1) for group in view.of(SecurityGroup)]

    curious = OneOff("curious", VpcPart(id="curious", compile=compile_it, inputs=frozenset({Vpc})))
    with pytest.raises(CompileError, match="SecurityGroup is not one of the part's inputs"):
        vpc_objects([curious], VIEW)
