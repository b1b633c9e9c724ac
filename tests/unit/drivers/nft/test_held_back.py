"""What the driver leaves out after a refused operation, so that nothing is offloaded by old rules."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from netorch.drivers.nft import tables
from netorch.drivers.nft.tables import Nft
from netorch.state.base import OVERLAY
from netorch.state.nft import Flowtable, FlowtableDevice, NftChain, PortChain
from netorch.state.op import Create, Delete, Failure, Op, Replace

VNI, OTHER = 0x1388, 0x1389


def acl(name: str = "border-001388-1", vni: int = VNI) -> Replace:
    """Return a changed rule."""
    was = NftChain(vni=vni, name=name, rules=("goto a",))
    return Replace(was, replace(was, rules=("goto b",)))


def flows(vni: int = VNI) -> Replace:
    """Return the change of a chain that adds flows to a new flowtable."""
    was = NftChain(vni=vni, name=f"flow-{vni:06x}-free-egress", rules=(f"flow add @flows-{vni:06x}-1", "goto freely_sent"))
    return Replace(was, replace(was, rules=(f"flow add @flows-{vni:06x}-2", "goto freely_sent")))


class Paper(Nft):
    """The driver of a kernel that refuses objects by their names, and notes what it accepts."""

    def __init__(self, refuses: Callable[[Op], bool]) -> None:
        self.netns, self._specs, self._swapped = OVERLAY, {}, set()
        self._refuses = refuses
        self.accepted: list[Op] = []

    def _commit(self, ops: Sequence[Op]) -> tuple[int, str]:
        if any(map(self._refuses, ops)):
            return errno.ENOSPC, ""
        self.accepted += ops
        return 0, ""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the driver wait, which needs CAP_NET_RAW."""
    monkeypatch.setattr(tables, "_let_packets_leave", lambda: 0)


def adding(nft: Paper) -> set[str]:
    """Return the flowtables to which rules add flows."""
    rules = [rule for op in nft.accepted if isinstance(op.obj, NftChain) for rule in op.obj.rules]
    return {rule.partition("@")[2] for rule in rules if rule.startswith("flow add")}


def refused(failures: Sequence[Failure]) -> list[tuple[str, int]]:
    return [(str(failure.op.obj.key[2]), failure.error.errno) for failure in failures]


@pytest.mark.usefixtures("waits")
def test_after_a_refused_change_its_vpc_adds_no_flows_and_others_do() -> None:
    change, chain = acl(), flows()
    nft = Paper(lambda op: op.obj.key == change.obj.key)
    failures = nft.apply([change, chain, acl("border-001389-1", OTHER), flows(OTHER)])
    assert refused(failures) == [(change.obj.key[2], errno.ENOSPC), (chain.obj.key[2], errno.ECANCELED)]
    assert adding(nft) == {"flows-001389-2"}
    assert any(op.obj.key == chain.obj.key and op.obj.rules == ("goto freely_sent",) for op in nft.accepted)  # type: ignore[attr-defined]
    again = Paper(lambda _: False)
    assert again.apply([failures[0].op, failures[1].op]) == []
    assert adding(again) == {"flows-001388-2"}


@pytest.mark.usefixtures("waits")
def test_what_is_not_made_of_words_holds_back_flows_as_well() -> None:
    strange = Create(NftChain(vni=VNI, name="border-001388-1", rules=("accept; flush ruleset",)))
    nft = Paper(lambda _: False)
    assert [number for _, number in refused(nft.apply([strange, flows()]))] == [errno.EINVAL, errno.ECANCELED]
    assert adding(nft) == set()


@pytest.mark.usefixtures("waits")
def test_a_port_whose_chain_is_refused_gets_no_guard_that_would_drop_its_packets() -> None:
    ports = [PortChain(vni=VNI, ifname=f"v-001388000000{number}", rules=("accept",)) for number in (1, 2)]
    devices = [FlowtableDevice(vni=VNI, ifname=port.ifname, flowtable="flows-001388-1", guard=("accept",)) for port in ports]
    nft = Paper(lambda op: op.obj.key == ports[0].key)
    failures = nft.apply([*map(Create, devices), *(Replace(port, replace(port, rules=("drop",))) for port in ports)])
    assert [(failure.op.obj.key, failure.error.errno) for failure in failures] == [
        (ports[0].key, errno.ENOSPC),
        (devices[0].key, errno.ECANCELED),
    ]
    assert [op.obj for op in nft.accepted if isinstance(op, Create)] == [devices[1]]


@pytest.mark.usefixtures("waits")
def test_no_device_joins_a_flowtable_that_could_not_be_emptied() -> None:
    """Its flows would pass packets again; and each VPC's flowtable counts for itself."""
    full, other = (Flowtable(vni=vni, name=f"flows-{vni:06x}-1") for vni in (VNI, OTHER))
    devices = [
        FlowtableDevice(vni=one.vni, ifname=f"vx{one.vni}", flowtable=one.name, guard=("accept",)) for one in (full, other)
    ]
    nft = Paper(lambda op: op == Delete(full))
    failures = nft.apply([*map(Delete, (full, other)), *map(Create, (full, other, *devices))])
    assert [(failure.op, failure.error.errno) for failure in failures] == [
        (Delete(full), errno.ENOSPC),
        (Create(devices[0]), errno.ECANCELED),
    ]
    assert Create(devices[1]) in nft.accepted


def test_without_a_wait_for_packets_in_flight_nothing_adds_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(socket, "socket", no_descriptor)
    nft, change, chain = Paper(lambda _: False), acl(), flows()
    assert refused(nft.apply([change, chain])) == [(chain.obj.key[2], errno.EMFILE)]
    assert adding(nft) == set()
    assert change in nft.accepted
