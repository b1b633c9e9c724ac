"""Echoes between hosts' kernels: who answers, who does not, and who says that it is ready."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from edges import readiness
from netorch.drivers.probe.echo import Probe, ask
from netorch.drivers.probe.echoes import RawEchoes
from netorch.errors import KernelError
from netorch.state.base import UNDERLAY
from netorch.state.nft import NFT_KINDS, NftTable
from netorch.state.op import Create, Delete
from policy import skeleton
from tests.rig.world import World, wait_for

pytestmark = pytest.mark.root

HV1, HV2, HV3, NOBODY = "192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.99"


@pytest.fixture
def ready(world: World) -> World:
    """A world whose hosts hv2 and hv3 say that they are ready, without agents."""
    for name, vtep in (("hv2", HV2), ("hv3", HV3)):
        assert world.reader(name).apply([Create(skeleton.underlay_table()), Create(readiness.ready(vtep))]) == []
    return world


def answering(echoes: RawEchoes, vteps: Sequence[str], count: int = 1) -> set[str]:
    """Return who answers an echo that it is ready, once so many have answered."""
    found: dict[str, bool] = {}

    def enough() -> bool:
        found.update(echoes.heard())
        return len(found) >= count

    echoes.send(vteps)
    wait_for(enough, f"{count} answers")
    return {vtep for vtep, is_ready in (found | echoes.heard()).items() if is_ready}


def test_echoes_are_answered_by_those_who_are_there(ready: World) -> None:
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    assert answering(echoes, (HV2, HV3, NOBODY), 2) == {HV2, HV3}
    assert ask([Probe(netns="hv1", destination=HV2)])[0].ok  # somebody else's echo, whose answer this socket hears too
    assert echoes.heard() == {}
    echoes.close()


def test_two_hosts_on_one_machine_hear_their_own_answers_only(ready: World) -> None:
    one, other = RawEchoes(ready.hosts["hv1"].fd, HV1), RawEchoes(ready.hosts["hv1"].fd, HV1)
    assert answering(one, [HV2]) == {HV2}
    other.send(())  # a round of its own, with the same number
    assert other.heard() == {}
    for echoes in (one, other):
        echoes.close()


def test_an_echo_without_a_route_stays_without_an_answer_and_stops_no_other(ready: World) -> None:
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    with ready.hosts["hv1"].rtnl() as ipr:
        ipr.route("add", dst="203.0.113.1/32", type="unreachable")
    assert answering(echoes, ["203.0.113.1", HV2]) == {HV2}
    echoes.close()


def test_an_address_that_is_nowhere_is_an_error(world: World) -> None:
    with pytest.raises(KernelError, match=f"send echoes from {NOBODY}"):
        RawEchoes(world.hosts["hv1"].fd, NOBODY)


def test_a_kernel_that_does_not_say_that_it_is_ready_is_there_and_not_ready(ready: World) -> None:
    kernel, table, element = ready.reader("hv2"), skeleton.underlay_table(), readiness.ready(HV2)
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    found = kernel.dump(NFT_KINDS)
    assert found[element.key] == element
    assert table.matches(found[table.key])  # the element is not taken for an alteration
    for op in (Delete(element), Delete(table)):  # not ready, and freshly booted
        assert kernel.apply([op]) == []
        assert ask([Probe(netns="hv1", destination=HV2)])[0].ok  # its kernel is there, and answers
        assert answering(echoes, [HV2, HV3], 2) == {HV3}
    assert kernel.apply([Create(table), Create(element)]) == []
    assert answering(echoes, [HV2]) == {HV2}
    echoes.close()


def test_a_table_of_somebody_elses_says_nothing(ready: World) -> None:
    kernel = ready.reader("hv2")
    assert kernel.apply([Delete(skeleton.underlay_table())]) == []
    bare = NftTable(netns=UNDERLAY, family="ip", body="set ready {\n    type ipv4_addr\n}\n")
    assert kernel.apply([Create(bare), Create(readiness.ready(HV2))]) == []
    echoes = RawEchoes(ready.hosts["hv1"].fd, HV1)
    assert answering(echoes, [HV2, HV3], 2) == {HV3}
    echoes.close()
