"""Echoes between hosts' kernels: who answers, who does not, and how an edge that is not fit keeps silent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from netorch.drivers.probe.echo import Probe, ask
from netorch.drivers.probe.echoes import RawEchoes
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY
from netorch.state.nft import NFT_KINDS, unready
from netorch.state.op import Create, Delete
from policy import skeleton
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

HV1, HV2, HV3, NOBODY = "192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.99"


def answering(echoes: RawEchoes, vteps: Sequence[str], count: int = 1) -> set[str]:
    """Return who answers an echo, once so many have."""
    found: set[str] = set()

    def enough() -> bool:
        found.update(echoes.heard())
        return len(found) >= count

    echoes.send(vteps)
    wait_for(enough, f"{count} answers")
    return found | echoes.heard()


def test_echoes_are_answered_by_those_who_are_there(world: World) -> None:
    echoes = RawEchoes(world.hosts["hv1"].fd, HV1)
    assert answering(echoes, (HV2, HV3, NOBODY), 2) == {HV2, HV3}
    assert ask([Probe(netns="hv1", destination=HV2)])[0].ok  # somebody else's echo, whose answer this socket hears too
    assert echoes.heard() == set()
    echoes.close()


def test_two_hosts_on_one_machine_hear_their_own_answers_only(world: World) -> None:
    one, other = RawEchoes(world.hosts["hv1"].fd, HV1), RawEchoes(world.hosts["hv1"].fd, HV1)
    assert answering(one, [HV2]) == {HV2}
    assert other.heard() == set()
    for echoes in (one, other):
        echoes.close()


def test_an_echo_without_a_route_stays_without_an_answer_and_stops_no_other(world: World) -> None:
    echoes = RawEchoes(world.hosts["hv1"].fd, HV1)
    with world.hosts["hv1"].rtnl() as ipr:
        ipr.route("add", dst="203.0.113.1/32", type="unreachable")
    assert answering(echoes, ["203.0.113.1", HV2]) == {HV2}
    echoes.close()


def test_an_address_that_is_nowhere_is_an_error(world: World) -> None:
    with pytest.raises(KernelError, match=f"send echoes from {NOBODY}"):
        RawEchoes(world.hosts["hv1"].fd, NOBODY)


def test_a_host_that_is_not_ready_keeps_silent_at_its_vtep(world: World) -> None:
    world.start_agents("hv2")
    kernel = world.reader("hv2")
    wait_for(lambda: kernel.dump(NFT_KINDS).get(skeleton.underlay_table().key), "the table to be there")
    echoes = RawEchoes(world.hosts["hv1"].fd, HV1)
    element = unready(HV2)
    with world.agent("hv2").busy:
        table = kernel.dump(NFT_KINDS)[skeleton.underlay_table().key]
        assert kernel.apply([Create(element)]) == []
        found = kernel.dump(NFT_KINDS)
        assert found[element.key] == element
        assert found[table.key] == table  # the element is not taken for an alteration
        assert element.netns == UNDERLAY
        echoes.send((HV2,))
        assert answering(echoes, [HV3]) == {HV3}
        assert kernel.apply([Delete(element)]) == []
        assert answering(echoes, [HV2]) == {HV2}
    echoes.close()
