"""A host that was taken over writes anything below its own keys, and into the mapping of an interface that it moves.

It must neither reach other interfaces by that, nor end or hold up the agents of other hosts.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netorch.agent.records import Records
from netorch.control.actions.instances import Placed
from netorch.errors import StoreDenied
from netorch.model.mapping import Mapping, Move, MoveDirection
from netorch.model.vpc import Subnet, Vpc
from netorch.records import keys
from netorch.records.codec import encode, encode_at
from netorch.records.flows import HandedOver, HandoverWord
from netorch.store.base import Range
from tests.unit.agent.tasks.test_connections import BOTH, flow, handed_over, moved, tracked
from tests.unit.agent.world import WiredStore, World

GATEWAY = "nat-00138800000000007"
FOREIGN = "eni-00200000000000007"
WORD = encode(HandoverWord(asks="e2"))
Key = Callable[[str, str], str]


@pytest.fixture
def placed(world: World) -> Placed:
    """An instance that moves from hv1, which lies, to hv2; a third host carries the VPC, too."""
    world.create_host("hv3")
    world.start("hv3")
    vpc, subnet = world.vpc("a")
    world.run(subnet, "hv3")
    world.settle(3)
    made = moved(world, vpc, subnet)
    world.turn("hv1")
    return made


def victim(world: World, host: str) -> tuple[Vpc, Subnet, Placed]:
    """Return another customer's VPC with an instance on a host."""
    vpc, subnet = world.vpc("victim", "10.9.0.0/16")
    found = world.run(subnet, host)
    world.settle(1)
    return vpc, subnet, found


def say_of_move(world: World, placed: Placed, **said: object) -> None:
    """Write the mapping of the moving interface, as its hosts may."""
    key = keys.mapping(placed.eni.vni, placed.eni.address)
    stored = world.store.get(key)
    assert stored is not None
    world.put(key, encode_at(key, msgspec.structs.replace(msgspec.json.decode(stored.value, type=Mapping), **said)))


def away(host: str) -> Move:
    return Move(direction=MoveDirection.FROM, host=host, vtep="192.0.2.11")


@pytest.fixture
def denied(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What hosts may not read."""
    places: set[str] = set()
    ask = WiredStore.list

    def checked(store: WiredStore, prefix: str, revision: int = 0) -> Range:
        if prefix in places:
            raise StoreDenied(f"store: no right to read {prefix}")
        return ask(store, prefix, revision)

    monkeypatch.setattr(WiredStore, "list", checked)
    return places


def test_a_key_behind_that_of_the_moving_interface_gives_no_other_interface_connections(world: World, placed: Placed) -> None:
    _, _, other = victim(world, "hv2")
    world.turn("hv1")
    key, one = handed_over(world, placed)
    world.turn("hv2")
    before = tracked(world.kernels["hv2"])
    lie = msgspec.structs.replace(
        one, protocol=17, source="198.51.100.66", destination=other.eni.address, dport=161, mark=BOTH, tcp_state=0, assured=True
    )
    world.put(f"{key}/{other.eni.id}", encode(HandedOver(flows=(lie,))))
    world.turn("hv2")
    assert tracked(world.kernels["hv2"]) == before
    world.settle(10)
    assert tracked(world.kernels["hv2"]) == before


@pytest.mark.parametrize("tail", ["z" * 17, "/x", "/", "/" + "z" * 18, f"/{FOREIGN}", f"/handover/{FOREIGN}"])
@pytest.mark.parametrize("of", [keys.eni_status, keys.eni_flows])
@pytest.mark.parametrize("value", [b'{"flows":[]}', b'{"state":"outgoing"}'])
def test_a_key_with_anything_behind_its_id_says_nothing(world: World, placed: Placed, of: Key, tail: str, value: bytes) -> None:
    world.put(of("hv1", placed.eni.id) + tail, value)
    world.turn("hv2")
    world.start("hv2")
    world.settle(10)
    world.assert_settled()
    assert not any(key.startswith("hoststat/hv1/eni-") for key in world.agents["hv2"].records.raw)  # forgotten with the move


@pytest.mark.parametrize("value", [b"\xff", b"{", b"[" * 5000, b'{"schema":' + b"9" * 5000 + b"}", b'{"schema":2}'])
@pytest.mark.parametrize("of", [keys.eni_status, keys.eni_flows])
def test_a_value_that_is_no_record_ends_no_agent(world: World, placed: Placed, of: Key, value: bytes) -> None:
    world.put(of("hv1", placed.eni.id), value)
    world.turn("hv2")
    world.start("hv2")
    world.settle(10)
    world.assert_settled()


@pytest.mark.parametrize(
    "tail", ["", "/", "/word/", "/word/x", "/x", f"/{GATEWAY}", f"/{GATEWAY}/", f"/{GATEWAY}/x", f"/{GATEWAY}/0/0", "/x/0"]
)
def test_a_key_that_is_not_of_a_handover_says_nothing(tail: str) -> None:
    records = Records("e2")
    records.put(keys.handover_word("e1"), WORD, 5)
    records.put(f"hoststat/e1/handover{tail}", WORD, 6)
    assert records.handovers.flows("e1") == {}  # all parts are there: none
    assert records.handovers.word("e1").asks == "e2"
    records.drop(f"hoststat/e1/handover{tail}", 7)
    assert records.handovers.word("e1").asks == "e2"


@pytest.mark.parametrize("host", ["handover", "flows"])
def test_a_host_may_be_named_as_a_part_of_a_key(host: str) -> None:
    records = Records("e2")
    records.put(keys.eni_status(host, FOREIGN), b'{"state":"outgoing"}', 4)
    records.put(keys.eni_flows(host, FOREIGN), b'{"flows":[]}', 5)
    records.put(keys.handover_word(host), WORD, 6)
    assert records.statuses.keys() == {keys.eni_status(host, FOREIGN)}
    assert records.handed_over.keys() == {FOREIGN}
    assert records.handovers.word(host).asks == "e2"


def test_a_mapping_makes_no_host_follow_what_is_not_placed_on_it(world: World, placed: Placed, denied: set[str]) -> None:
    key = keys.eni_flows("hv1", placed.eni.id)
    denied.add(key)
    world.kill("hv1")
    say_of_move(world, placed, host="hv3", move=away("hv1"))
    world.turn("hv3")
    agent = world.agents["hv3"]
    assert key not in agent._prefixes()
    assert agent.follower.in_sync
    assert agent.follower.trouble == ""


def test_a_mapping_names_no_other_interface_of_the_new_host(world: World, placed: Placed) -> None:
    _, _, other = victim(world, "hv2")
    world.kill("hv1")
    say_of_move(world, placed, eni=other.eni.id, host="hv2", move=away("hv1"))
    world.turn("hv2")
    assert keys.eni_flows("hv1", other.eni.id) not in world.agents["hv2"]._prefixes()


def test_a_mapping_makes_no_host_publish_connections_of_another_interface(world: World, placed: Placed) -> None:
    vpc, _, other = victim(world, "hv3")
    flow(world, "hv3", vpc, "198.51.100.7", other.eni.address, 443)
    world.kill("hv1")
    say_of_move(world, placed, eni=other.eni.id, host="hv1", move=away("hv3"))
    for _ in range(2):
        world.turn("hv3")
    assert world.store.get(keys.eni_flows("hv3", other.eni.id)) is None


def test_a_host_of_a_move_goes_on_though_the_mapping_names_one_whose_words_it_may_not_read(
    world: World, placed: Placed, denied: set[str]
) -> None:
    world.kill("hv1")
    key = keys.eni_flows("hv9", placed.eni.id)
    denied.add(key)
    say_of_move(world, placed, host="hv2", vtep="192.0.2.12", move=away("hv9"))
    world.settle(60)
    agent = world.agents["hv2"]
    assert agent.follower.in_sync
    assert agent.follower.trouble == f"store: no right to read {key}"
    assert world.store.get(keys.host_live("hv2")) is not None
    later = world.run(world.vpc("later", "10.8.0.0/16")[1], "hv2")
    world.turn("hv2")
    assert later.eni.vni in agent.records.vpcs
    say_of_move(world, placed, host="hv2", vtep="192.0.2.12", move=None)
    world.turn("hv2")
    assert agent.follower.trouble == ""
    world.start("hv2")
    assert world.agents["hv2"].follower.in_sync


@pytest.mark.parametrize(
    "said",
    [
        {"eni": "x"},
        {"eni": ""},
        {"eni": FOREIGN},
        {"host": ""},
        {"host": "a/b\0"},
        {"vtep": "x", "mac": "x"},
        {"vni": -1},
        {"vni": 1 << 60},
        {"address": "x"},
        {"groups": ("x", "", "sg-")},
        {"move": Move(direction=MoveDirection.TO, host="", vtep="")},
        {"move": Move(direction=MoveDirection.FROM, host="/", vtep="::1")},
    ],
)
def test_a_mapping_that_makes_no_sense_ends_no_agent(world: World, placed: Placed, said: dict[str, object]) -> None:
    world.kill("hv1")
    say_of_move(world, placed, **said)
    world.settle(5)
    for host in ("hv2", "hv3"):
        world.start(host)
        assert world.agents[host].follower.in_sync
