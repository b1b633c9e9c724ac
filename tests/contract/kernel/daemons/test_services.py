"""Objects of netorch's own service daemon: read back, kept across agents, restored after changes by others."""

from __future__ import annotations

import errno
import signal

import msgspec

from netorch.drivers.base import Lost
from netorch.drivers.services.driver import Services
from netorch.model.services.dhcp_options import DhcpOptions
from netorch.plan.diff import diff
from netorch.state.base import UNDERLAY, KernelObject
from netorch.state.daemons.services.dhcp import DhcpLease
from netorch.state.daemons.services.names import NameListener
from netorch.state.l3 import Address
from netorch.state.link import AdminUp, vrf_of
from netorch.state.op import Create, Delete
from tests.contract.kernel.both import FakeStand
from tests.contract.kernel.daemons import service_daemons
from tests.contract.kernel.stands import MAC, VETH, VNI, VRF, Stand, by_key, create, events_of, missing, refusals
from tests.rig.world import wait_for


def vpc(vni: int) -> tuple[KernelObject, ...]:
    vrf = vrf_of(vni)
    return (
        vrf,
        AdminUp(vni=vni, ifname=vrf.ifname),
        Address(vni=vni, ifname=vrf.ifname, address="169.254.169.253/32"),
        Address(vni=vni, ifname=vrf.ifname, address="10.0.0.2/32"),
    )


def listener(vni: int) -> NameListener:
    return NameListener(vni=vni, ifname=f"vrf{vni}", addresses=("10.0.0.2", "169.254.169.253"))


BOTH = (listener(5000), listener(5001))
EVERYTHING = (*vpc(5000), *vpc(5001), *BOTH)


def of_services(stand: Stand) -> set[KernelObject]:
    return set(stand.kernel.dump(Services.kinds).values())


def test_two_vpcs_are_served_at_the_same_addresses_and_read_back_by_a_restarted_agent(stand: Stand) -> None:
    assert of_services(stand) == set()
    assert stand.kernel.apply(diff(by_key(*EVERYTHING), {})) == []
    assert of_services(stand) == set(BOTH)
    assert service_daemons.users(stand) == {service_daemons.NOBODY}
    with stand.restarted() as kernel:
        assert missing(kernel, *EVERYTHING) == []
        assert kernel.apply([Delete(BOTH[1]), Delete(BOTH[1])]) == []
    assert of_services(stand) == {BOTH[0]}
    assert Lost(Services.kinds) not in stand.kernel.events()


def test_a_changed_listener_takes_its_predecessors_place(stand: Stand) -> None:
    create(stand.kernel, *EVERYTHING)
    other = msgspec.structs.replace(BOTH[0], addresses=("169.254.169.253",))
    assert stand.kernel.apply(missing(stand.kernel, *vpc(5000), other)) == []
    assert of_services(stand) == {other, BOTH[1]}
    create(stand.kernel, other)  # an object that exists unknown to the caller does not block its creation
    assert of_services(stand) == {other, BOTH[1]}


def test_a_killed_daemon_is_an_event_and_started_again(stand: Stand) -> None:
    create(stand.kernel, *EVERYTHING)
    stand.kernel.events()
    service_daemons.send(stand, signal.SIGKILL)
    wait_for(lambda: Lost(Services.kinds) in events_of(stand.kernel), "the event")
    assert of_services(stand) == set()
    assert stand.kernel.apply(missing(stand.kernel, *EVERYTHING)) == []
    assert of_services(stand) == set(BOTH)


def test_a_daemon_that_hangs_or_cannot_be_talked_to_is_replaced(stand: Stand) -> None:
    create(stand.kernel, *EVERYTHING)
    service_daemons.send(stand, signal.SIGSTOP)
    assert of_services(stand) == set()
    assert stand.kernel.apply([Create(one) for one in BOTH]) == []
    assert of_services(stand) == set(BOTH)
    if not isinstance(stand, FakeStand):
        service_daemons.SOCKET.unlink()
        with stand.restarted() as kernel:
            assert kernel.dump(Services.kinds) == {}
            assert kernel.apply([Create(one) for one in BOTH]) == []
            assert set(kernel.dump(Services.kinds).values()) == set(BOTH)


def test_a_listener_goes_with_its_vrf_and_serves_another_of_that_name(stand: Stand) -> None:
    create(stand.kernel, *EVERYTHING)
    stand.foreigner_deletes(vrf_of(5000))
    assert of_services(stand) == {BOTH[1]}
    assert stand.kernel.apply(missing(stand.kernel, *EVERYTHING)) == []
    assert of_services(stand) == set(BOTH)


def test_a_lease_outlives_its_port(stand: Stand) -> None:
    """Another host on the same machine takes a port over, and the first agent only learns that the device is gone."""
    lease = DhcpLease(
        vni=VNI,
        ifname=VETH.ifname,
        vrf=VRF.ifname,
        mac=MAC,
        address="10.0.0.11",
        length=24,
        router="10.0.0.1",
        mtu=1500,
        hostname="ip-10-0-0-11",
        near=(),
        options=DhcpOptions(),
    )
    create(stand.kernel, VRF, VETH, lease)
    stand.foreigner_deletes(VETH)
    assert of_services(stand) == {lease}
    assert stand.kernel.apply([Delete(lease)]) == []
    assert of_services(stand) == set()


def test_what_cannot_be_served_is_refused_and_the_rest_is_done(stand: Stand) -> None:
    create(stand.kernel, *vpc(5000))
    nowhere, wrong = listener(5001), msgspec.structs.replace(BOTH[0], addresses=("10.0.0.777",))
    assert refusals(stand.kernel, Create(nowhere), Create(BOTH[0])) == [(nowhere, errno.ENODEV)]
    assert of_services(stand) == {BOTH[0]}
    assert refusals(stand.kernel, Delete(BOTH[0]), Create(wrong)) == [(wrong, errno.EINVAL)]
    assert of_services(stand) == set()
    assert all(obj.netns == UNDERLAY for obj in BOTH)
