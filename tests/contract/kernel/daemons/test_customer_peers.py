"""Sessions with customers' routers: read back, kept across agents, restored after changes by others; and learned routes."""

from __future__ import annotations

import errno
import subprocess

import msgspec
import pytest

from netorch.drivers.base import KernelEvent, LearnedChanged, LearnedRoute, Lost
from netorch.drivers.bird.customers import Customers
from netorch.model.status import ESTABLISHED
from netorch.state.base import KernelObject
from netorch.state.daemons.bgp import LEARNED_METRIC, CustomerPeer
from netorch.state.foreign import Foreign
from netorch.state.l3 import UNREACHABLE, UNREACHABLE_METRIC, Route
from netorch.state.link import AdminUp, Vrf
from netorch.state.names import VPN_GATEWAY_NUMBER, vrf_name, vrf_table
from netorch.state.op import Create, Delete, Replace
from netorch.state.owner import overlay_netns
from tests.contract.kernel.both import FakeStand
from tests.contract.kernel.daemons import birds
from tests.contract.kernel.stands import HOST, Stand, create, events_of, missing, refusals, there
from tests.rig.world import wait_for

A, B = 5000, 5001
TABLE = vrf_table(A, VPN_GATEWAY_NUMBER)


def peer_of(vni: int, name: str, ifname: str, metric: int = 3000, *, bfd: bool = False) -> CustomerPeer:
    return CustomerPeer(
        vni=vni,
        name=name,
        ifname=ifname,
        vrf=vrf_name(vni),
        table=vrf_table(vni, VPN_GATEWAY_NUMBER),
        metric=metric,
        local="169.254.10.1",
        local_asn=64512,
        remote="169.254.10.2",
        remote_asn=65001,
        announces=("10.0.0.0/16",),
        refuses=("10.0.0.0/16",),
        limit=100,
        bfd=bfd,
    )


def vrfs(vni: int) -> list[KernelObject]:
    """Return a VPC's VRF and the VRF of its virtual private gateway, with their routes."""
    numbers = (0, VPN_GATEWAY_NUMBER)
    named = [(vrf_name(vni, number), vrf_table(vni, number)) for number in numbers]
    return [
        *(Vrf(vni=vni, ifname=ifname, table=table) for ifname, table in named),
        *(AdminUp(vni=vni, ifname=ifname) for ifname, _ in named),
        *(Route(vni=vni, table=table, dst="0.0.0.0/0", type=UNREACHABLE, metric=UNREACHABLE_METRIC) for _, table in named),
    ]


VPN = peer_of(A, "vpn_00138800000000001_1", "x-0013880000001")
DX = msgspec.structs.replace(peer_of(A, "dxvif_00138800000000002", "d-0013880000002", 1000, bfd=True), remote="169.254.10.6")
OTHER = peer_of(B, "vpn_00138900000000003_1", "x-0013890000003")  # same addresses and AS numbers, in another VPC
PEERS: set[KernelObject] = {VPN, DX, OTHER}
ALL = (*vrfs(A), *vrfs(B), *PEERS)


def of_bird(stand: Stand) -> set[KernelObject]:
    return {obj for obj in stand.kernel.dump().values() if obj.kind in Customers.kinds}


def lost(stand: Stand) -> bool:
    """Return whether an event says that all objects of the daemon must be read again."""
    seen: list[KernelEvent] = events_of(stand.kernel)
    return Lost(Customers.kinds) in seen


def test_sessions_are_read_back(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    assert of_bird(stand) == PEERS
    assert stand.kernel.customer_sessions().keys() == {VPN.name, DX.name, OTHER.name}


def test_a_host_without_sessions_has_none(stand: Stand) -> None:
    assert stand.kernel.customer_sessions() == {}
    assert stand.kernel.learned(TABLE) == ()
    assert refusals(stand.kernel, Delete(VPN)) == []


def test_a_restarted_agent_takes_the_daemon_over(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    with stand.restarted() as kernel:
        assert {obj for obj in kernel.dump().values() if obj.kind in Customers.kinds} == PEERS
        assert kernel.apply([Delete(DX)]) == []
    assert of_bird(stand) == {VPN, OTHER}


def test_a_session_is_changed_and_others_end(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    other = msgspec.structs.replace(VPN, announces=("10.0.0.0/16", "10.7.0.0/16"), remote_asn=65002, bfd=True)
    assert stand.kernel.apply([Replace(VPN, other), Delete(DX), Delete(DX)]) == []
    assert of_bird(stand) == {other, OTHER}
    assert stand.kernel.apply([Delete(other), Delete(OTHER)]) == []
    assert of_bird(stand) == set()
    assert stand.kernel.customer_sessions() == {}


def test_what_is_done_here_is_no_event(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    assert stand.kernel.apply([Delete(DX)]) == []
    assert [event for event in stand.kernel.events() if not isinstance(event, LearnedChanged)] == []


def test_a_killed_daemon_is_an_event_and_started_again(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    stand.kernel.events()
    birds.kill(stand, Customers)
    wait_for(lambda: lost(stand), "the event")
    assert of_bird(stand) == set()
    assert all(found.state != ESTABLISHED for found in stand.kernel.customer_sessions().values())
    assert stand.kernel.apply(missing(stand.kernel, *ALL)) == []
    assert of_bird(stand) == PEERS


def test_a_daemon_with_somebody_else_s_file_has_nothing_of_ours_until_it_is_put_right(stand: Stand) -> None:
    create(stand.kernel, *ALL)
    birds.reconfigure(stand, Customers)
    assert of_bird(stand) == set()
    assert stand.kernel.apply(missing(stand.kernel, *ALL)) == []
    assert of_bird(stand) == PEERS


@pytest.mark.parametrize(
    "change",
    [
        {"local_asn": 0},
        {"remote_asn": 1 << 32},
        {"announces": ("10.0.0.1/16",)},
        {"refuses": ("10.0.0.0/16+ ]; }; accept",)},
        {"remote": "169.254.10.2 as 1; }"},
        {"name": "x { }"},
        {"name": ""},
        {"ifname": 'x"; }'},
        {"vrf": 'vrf5000"; }'},
        {"table": 1 << 31},
        {"metric": LEARNED_METRIC},
        {"metric": 65000},
        {"limit": 0},
    ],
    ids=lambda change: "-".join(change),
)
def test_what_no_session_can_be_is_refused_and_others_do_not_wait(stand: Stand, change: dict[str, object]) -> None:
    create(stand.kernel, *vrfs(A), *vrfs(B), VPN)
    wrong = msgspec.structs.replace(DX, **change)
    assert refusals(stand.kernel, Create(wrong), Create(OTHER)) == [(wrong, errno.EINVAL)]
    assert of_bird(stand) == {VPN, OTHER}
    assert not there(stand.kernel, wrong)


def test_learned_routes_are_read_and_each_change_is_an_event(stand: Stand) -> None:
    create(stand.kernel, *vrfs(A), *vrfs(B))
    stand.kernel.events()
    first = LearnedRoute(prefix="0.0.0.0/0", metric=3002, ifname="lo")
    second = LearnedRoute(prefix="192.168.1.0/24", metric=1001, ifname="lo")
    learn(stand, second, first)
    assert set(news_of_learned(stand)) == {LearnedChanged(TABLE)}
    assert stand.kernel.learned(TABLE) == (first, second)
    assert stand.kernel.learned(vrf_table(B, VPN_GATEWAY_NUMBER)) == ()
    assert not [obj for obj in stand.kernel.dump().values() if isinstance(obj, Foreign)]
    learn(stand, first)
    assert set(news_of_learned(stand)) == {LearnedChanged(TABLE)}
    assert stand.kernel.learned(TABLE) == (first,)


def test_a_dump_takes_no_word_of_learned_routes_away(stand: Stand) -> None:
    create(stand.kernel, *vrfs(A))
    stand.kernel.events()
    learn(stand, LearnedRoute(prefix="192.168.1.0/24", metric=1001, ifname="lo"))
    stand.kernel.dump()
    assert set(news_of_learned(stand)) == {LearnedChanged(TABLE)}


def news_of_learned(stand: Stand) -> list[KernelEvent]:
    return wait_for(lambda: [event for event in events_of(stand.kernel) if isinstance(event, LearnedChanged)], "the event")


def learn(stand: Stand, *routes: LearnedRoute) -> None:
    """Put these routes into the table of a virtual private gateway, as a daemon does."""
    if isinstance(stand, FakeStand):
        stand.fake.learn(TABLE, *routes)
        return
    has = f"proto bird metric {LEARNED_METRIC} table {TABLE}"
    lines = ["link set lo up", f"route flush proto bird table {TABLE}"]
    lines += [f"route add {route.prefix} dev {route.ifname} reordering {route.metric} {has}" for route in routes]
    command = ["ip", "-n", overlay_netns(HOST), "-force", "-batch", "-"]
    subprocess.run(command, input="\n".join(lines), text=True, check=True)
