"""Laws of the compilers, for random clouds."""

from __future__ import annotations

from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.compiler.registry import Objects, compile_host, compile_slice
from netorch.model.mapping import Mapping
from netorch.state.base import HOST_SLICE
from netorch.state.l3 import Route
from netorch.state.link import TapPort, VethPort, Vxlan
from tests.golden.clouds import COMPILERS, CloudCase, VpcCase, compiled, host_view, mappings, vpc_view
from tests.property.strategies import HOSTS, clouds, vpcs
from tests.views import mapping_objects, vpc_objects

pytestmark = pytest.mark.slow

hosts = st.sampled_from(sorted(HOSTS))


def slices(cloud: CloudCase, host: str) -> dict[int, Objects]:
    """Return each slice of a host, compiled alone."""
    found = {HOST_SLICE: compile_host(COMPILERS, host_view(cloud, host))}
    for vpc in cloud.vpcs:
        view = vpc_view(cloud, vpc, host)
        if view is not None:
            found[vpc.vni] = compile_slice(COMPILERS, view, mappings(cloud, vpc))
    return found


@given(clouds(), hosts)
def test_slices_share_no_key(cloud: CloudCase, host: str) -> None:
    times = Counter(key for objects in slices(cloud, host).values() for key in objects)
    assert [key for key, count in times.items() if count > 1] == []


@given(clouds(), hosts)
def test_every_object_carries_the_number_of_its_slice(cloud: CloudCase, host: str) -> None:
    for slice_id, objects in slices(cloud, host).items():
        assert {obj.vni for obj in objects.values()} <= {slice_id}


@given(clouds(), hosts)
def test_every_parent_is_compiled_with_its_child_and_born_first(cloud: CloudCase, host: str) -> None:
    objects = compiled(cloud, host)
    for obj in objects.values():
        if obj.parent is not None:
            assert objects[obj.parent].order < obj.order


@given(clouds(), hosts)
def test_the_order_of_records_does_not_matter(cloud: CloudCase, host: str) -> None:
    for vpc in cloud.vpcs:
        view = vpc_view(cloud, vpc, host)
        if view is None:
            continue
        turned = msgspec.structs.replace(view, inputs={kind: values[::-1] for kind, values in view.inputs.items()})
        assert compile_slice(COMPILERS, view, mappings(cloud, vpc)) == compile_slice(
            COMPILERS, turned, reversed(list(mappings(cloud, vpc)))
        )


@given(vpcs(5000), vpcs(5000), hosts, st.randoms(use_true_random=False))
def test_counting_the_objects_of_changed_mappings_equals_compiling_all(
    first: VpcCase, second: VpcCase, host: str, shuffler: Random
) -> None:
    before, after = (CloudCase(hosts=HOSTS, vpcs=(vpc,)) for vpc in (first, second))
    view = vpc_view(after, second, host)
    if view is None:
        return
    counts: Counter[object] = Counter()
    known: dict[str, Mapping] = {}
    changes: list[tuple[str, Mapping | None]] = [(m.address, m) for m in mappings(before, first)]
    final = {m.address: m for m in mappings(after, second)}
    moves = [(address, final.get(address)) for address in {m.address for m in mappings(before, first)} | final.keys()]
    shuffler.shuffle(moves)
    for address, mapping in [*changes, *moves]:
        old = known.pop(address, None)
        for obj in mapping_objects(COMPILERS, view, old).values() if old is not None else ():
            counts[obj] -= 1
        if mapping is not None:
            known[address] = mapping
            counts.update(mapping_objects(COMPILERS, view, mapping).values())
    counted = {obj for obj, count in counts.items() if count > 0} | set(vpc_objects(COMPILERS, view).values())
    assert counted == set(compile_slice(COMPILERS, view, final.values()).values())


@given(clouds())
def test_an_address_is_at_home_where_its_port_is_and_reached_from_everywhere_else(cloud: CloudCase) -> None:
    for vpc in cloud.vpcs:
        for host in HOSTS:
            view = vpc_view(cloud, vpc, host)
            if view is None:
                continue
            objects = compile_slice(COMPILERS, view, mappings(cloud, vpc))
            ports = {obj.ifname for obj in objects.values() if isinstance(obj, VethPort | TapPort)}
            vxlans = {obj.ifname for obj in objects.values() if isinstance(obj, Vxlan)}
            for mapping in mappings(cloud, vpc):
                length, metric = (128, 1024) if ":" in mapping.address else (32, 0)
                route = objects[("route", "overlay", vpc.vni, f"{mapping.address}/{length}", metric)]
                assert isinstance(route, Route)
                assert route.ifname in (ports if mapping.address in view.active else vxlans)
