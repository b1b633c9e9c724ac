"""charon's connections: read back, kept across agents, restored after changes by others."""

from __future__ import annotations

import errno

import msgspec
import pytest

from netorch.drivers.base import Gone, KernelEvent, Lost
from netorch.drivers.charon.driver import Charon
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.model.outside.secrets import Secret, seal
from netorch.plan.diff import diff
from netorch.state.base import OUTSIDE, KernelObject
from netorch.state.daemons.ike import IkeConnection
from netorch.state.link import LOOPBACK, AdminUp
from netorch.state.netns import Namespace
from netorch.state.op import Create, Delete, Replace
from tests.contract.kernel.daemons import charons
from tests.contract.kernel.stands import Stand, by_key, create, events_of, missing, refusals, there
from tests.rig.world import wait_for
from tests.unit.drivers.charon.connections import changed

OUTSIDE_NAMESPACE = Namespace(label=OUTSIDE)
OUTSIDE_UP = AdminUp(netns=OUTSIDE, ifname=LOOPBACK)


def connection(number: int, public: str, psk: str = "Canary.psk_1234567890") -> IkeConnection:
    return changed(
        name=f"vpn-001388{number:011x}-1",
        remote=f"198.18.0.{80 + number}",
        remote_identity=f"198.18.0.{80 + number}",
        proposals=("aes256-sha256-modp2048", "aes128gcm16-prfsha256-ecp256"),
        child_proposals=("aes256-sha256-modp2048", "aes128gcm16-ecp256"),
        if_id=0x138800 | number << 1,
        secret=seal(public, Secret(psk=psk)),
    )


@pytest.fixture
def pair(edge_key: EdgeKey) -> tuple[IkeConnection, IkeConnection]:
    return connection(1, edge_key.public), connection(2, edge_key.public)


def everything(*connections: IkeConnection) -> tuple[KernelObject, ...]:
    return (OUTSIDE_NAMESPACE, OUTSIDE_UP, *connections)


def of_charon(stand: Stand) -> set[KernelObject]:
    return {obj for obj in stand.kernel.dump().values() if obj.kind in Charon.kinds}


def lost(stand: Stand) -> bool:
    """Return whether an event says that all objects of the daemon must be read again."""
    seen: list[KernelEvent] = events_of(stand.kernel)
    return Lost(Charon.kinds) in seen


Pair = tuple[IkeConnection, IkeConnection]


def test_what_is_to_be_negotiated_is_read_back(stand: Stand, pair: Pair) -> None:
    assert stand.kernel.apply(diff(by_key(*everything(*pair)), {})) == []
    assert of_charon(stand) == set(pair)
    tunnels = stand.kernel.tunnels()
    assert tunnels.keys() == {one.name for one in pair}
    assert not any(status.ike or status.child for status in tunnels.values())


def test_without_connections_there_are_no_tunnels(stand: Stand) -> None:
    assert stand.kernel.tunnels() == {}
    create(stand.kernel, *everything())
    assert stand.kernel.tunnels() == {}
    assert of_charon(stand) == set()


def test_a_restarted_agent_takes_the_daemon_over(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(*pair))
    with stand.restarted() as kernel:
        assert {obj for obj in kernel.dump().values() if obj.kind in Charon.kinds} == set(pair)
        assert kernel.tunnels().keys() == {one.name for one in pair}
        assert kernel.apply([Delete(pair[1])]) == []
    assert of_charon(stand) == {pair[0]}


def test_a_connection_changes_and_another_goes(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(*pair))
    other = msgspec.structs.replace(pair[0], child_lifetime=1800)
    assert stand.kernel.apply([Replace(pair[0], other), Delete(pair[1]), Delete(pair[1])]) == []
    assert of_charon(stand) == {other}
    assert stand.kernel.tunnels().keys() == {other.name}


def test_another_secret_is_another_connection(stand: Stand, pair: Pair, edge_key: EdgeKey) -> None:
    create(stand.kernel, *everything(*pair))
    rotated = connection(1, edge_key.public, "Another.psk.0123456789")
    assert rotated != pair[0]
    assert stand.kernel.apply([Replace(pair[0], rotated)]) == []
    assert of_charon(stand) == {rotated, pair[1]}


def test_what_is_done_here_is_no_event(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(*pair))
    stand.kernel.events()
    assert stand.kernel.apply([Delete(pair[0])]) == []
    assert stand.kernel.events() == []


def test_a_killed_daemon_is_an_event_and_started_again(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(*pair))
    stand.kernel.events()
    charons.kill(stand)
    wait_for(lambda: lost(stand), "the event")
    assert of_charon(stand) == set()
    assert stand.kernel.apply(missing(stand.kernel, *everything(*pair))) == []
    assert of_charon(stand) == set(pair)


def test_what_somebody_else_takes_away_is_put_back(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(*pair))
    charons.unload(stand, pair[0])
    assert of_charon(stand) == {pair[1]}
    assert stand.kernel.apply(missing(stand.kernel, *everything(*pair))) == []
    assert of_charon(stand) == set(pair)


def test_a_secret_that_somebody_else_takes_away_is_put_back(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(*pair))
    charons.take_secrets(stand, *pair)
    assert of_charon(stand).isdisjoint(pair)
    assert stand.kernel.apply(missing(stand.kernel, *everything(*pair))) == []
    assert of_charon(stand) == set(pair)


@pytest.mark.parametrize("change", [{"proposals": ("aes7-sha9",)}, {"remote_identity": "*.example"}, {"local_traffic": "x"}])
def test_what_the_daemon_cannot_take_is_refused_and_the_rest_is_done(stand: Stand, pair: Pair, change: dict[str, object]) -> None:
    wrong = msgspec.structs.replace(pair[1], **change)
    create(stand.kernel, *everything())
    assert refusals(stand.kernel, Create(wrong), Create(pair[0])) == [(wrong, errno.EINVAL)]
    assert of_charon(stand) == {pair[0]}


def test_a_secret_that_cannot_be_opened_is_refused_and_the_rest_is_done(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(pair[1]))
    wrong = msgspec.structs.replace(pair[1], secret="")
    assert refusals(stand.kernel, Replace(pair[1], wrong), Create(pair[0])) == [(wrong, errno.EKEYREJECTED)]
    assert of_charon(stand) == set(pair)


def test_the_daemon_goes_with_its_namespace(stand: Stand, pair: Pair) -> None:
    create(stand.kernel, *everything(*pair))
    stand.kernel.events()
    assert stand.kernel.apply([Delete(OUTSIDE_NAMESPACE), Delete(pair[0])]) == []
    assert {Gone(one.key, one.vni) for one in pair} <= set(events_of(stand.kernel))
    assert not there(stand.kernel, pair[0])
    assert stand.kernel.tunnels() == {}
    create(stand.kernel, *everything(*pair))
    assert of_charon(stand) == set(pair)
