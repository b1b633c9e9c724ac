"""charon's events let waiting tunnels begin, without a look at all tunnels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

import pytest

from netorch.drivers.charon import upkeep
from netorch.drivers.charon.control import Control, Section, Value
from netorch.drivers.charon.tunnels import Tunnels
from netorch.drivers.charon.upkeep import MOST_BEGUN
from netorch.drivers.charon.xfrm import KernelSa, Xfrm
from tests.unit.drivers.charon.connections import changed

CONNECTIONS = {name: changed(name=name, initiates=True) for name in (f"vpn-{number:03}" for number in range(MOST_BEGUN + 2))}


class Quiet(Control):
    """A charon without SAs that accepts every command."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def tell(self, command: str, message: Mapping[str, Value]) -> bool:
        assert command == "initiate"
        self.begun.append(str(message["ike"]))
        return True

    def stream(self, command: str, event: str, message: Mapping[str, Value] | None = None) -> Iterator[Section]:
        return iter(())


class NoSas(Xfrm):
    """A kernel without SAs."""

    def sas(self) -> list[KernelSa]:
        return []

    def delete(self, sas: Iterable[KernelSa]) -> None:
        assert not list(sas)


def test_a_tunnel_that_comes_up_lets_another_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BEGUN_S", 1e9)  # a stalling machine makes no room
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    tunnels, charon, names = Tunnels(NoSas(fd), acts=True), Quiet(), list(CONNECTIONS)
    tunnels.look(charon, CONNECTIONS)
    assert charon.begun == names[:MOST_BEGUN]
    assert not tunnels.has_room()
    assert tunnels.hear([("child-updown", {names[3]: {}})], CONNECTIONS)  # its CHILD_SA has ended
    assert not tunnels.has_room()
    assert tunnels.hear([("child-updown", {"up": "yes", names[3]: {}})], CONNECTIONS)
    assert tunnels.has_room()
    tunnels.begin_more(charon)
    assert charon.begun == names[: MOST_BEGUN + 1]
    assert not tunnels.has_room()
    os.close(fd)
