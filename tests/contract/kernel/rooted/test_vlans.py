"""VLAN devices and their lower device: a Direct Connect port, or a service tag on it."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.state.link import AdminUp, Link
from netorch.state.op import Create, Delete, Replace
from netorch.state.rooted import Vlan
from tests.contract.kernel.rooted.objects import (
    ALL,
    HOST,
    INNER,
    OTHER_TUNNEL,
    PORT,
    PORT_MTU,
    SERVICE_TAG,
    TUNNEL,
    UPLINK,
    VLAN,
    VRFS,
)
from tests.contract.kernel.rooted.test_tunnels import host, restore, working
from tests.contract.kernel.stands import Stand, create, events_of, missing, refusals, there

__all__ = ["host", "working"]


def test_one_whose_lower_device_is_not_there_is_refused(host: Stand) -> None:
    astray = msgspec.structs.replace(VLAN, lower="port9")
    assert refusals(host.kernel, Create(astray)) == [(astray, errno.ENODEV)]


@pytest.mark.parametrize(("device", "most"), [(VLAN, PORT_MTU), (INNER, PORT_MTU)], ids=["vlan", "inner vlan"])
def test_one_larger_than_its_lower_device_is_refused_made_or_changed(host: Stand, device: Vlan, most: int) -> None:
    create(host.kernel, device)
    large = msgspec.structs.replace(device, mtu=most + 1)
    (failure,) = host.kernel.apply([Replace(device, large)])
    assert (failure.error.errno, f"has an MTU of {most}" in str(failure.error)) == (errno.ERANGE, True)
    assert missing(host.kernel, device) == []
    assert host.kernel.apply([Delete(device)]) == []
    assert refusals(host.kernel, Create(large)) == [(large, errno.ERANGE)]
    assert not there(host.kernel, device)
    create(host.kernel, msgspec.structs.replace(device, mtu=most))


def test_vlans_of_one_number_differ_by_protocol(host: Stand) -> None:
    service = msgspec.structs.replace(VLAN, ifname=VLAN.ifname[:-1] + "9", protocol="802.1ad")
    create(host.kernel, VLAN, service)
    assert missing(host.kernel, VLAN, service) == []


def test_they_go_with_a_port_that_is_given_back_and_tunnels_stay(working: Stand) -> None:
    assert working.kernel.apply([Delete(UPLINK)]) == []
    assert not [obj for obj in (VLAN, SERVICE_TAG, INNER) if there(working.kernel, obj)]
    assert missing(working.kernel, TUNNEL, OTHER_TUNNEL) == []
    assert working.has_device(PORT)
    restore(working)


def test_a_port_that_somebody_takes_back_comes_again_with_all_that_was_on_it(working: Stand) -> None:
    working.kernel.events()
    working.foreigner_takes_back(UPLINK)
    assert events_of(working.kernel)
    restore(working)


@pytest.mark.parametrize("victim", [UPLINK, SERVICE_TAG], ids=["port", "service tag"])
def test_a_lower_device_that_goes_down_takes_nothing_along(working: Stand, victim: Link) -> None:
    down = next(obj for obj in ALL if isinstance(obj, AdminUp) and obj.ifname == victim.ifname)
    assert working.kernel.apply([Delete(down)]) == []
    assert missing(working.kernel, *ALL) == [Create(down)]
    create(working.kernel, down)
    assert missing(working.kernel, *ALL) == []


def test_a_service_tag_that_goes_takes_what_is_inside_it_along(working: Stand) -> None:
    working.kernel.events()
    working.foreigner_deletes(SERVICE_TAG)
    assert events_of(working.kernel)
    assert not [obj for obj in (SERVICE_TAG, INNER) if there(working.kernel, obj)]
    assert there(working.kernel, VLAN)
    restore(working)


def test_a_service_tag_alone_is_no_uplink(host: Stand) -> None:
    assert missing(host.kernel, *HOST, *VRFS) == []
    assert host.kernel.apply([Delete(SERVICE_TAG)]) == []
    assert not there(host.kernel, SERVICE_TAG)
    assert not host.has_device(SERVICE_TAG.ifname)
