"""Objects written over netlink are read back as the same text, and with how many requests."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator

import pytest

from netorch.drivers.netlink import HEADER, Answer, attr, attr_text, attrs, nested
from netorch.drivers.nft.commands import preparations, steps
from netorch.drivers.nft.listing import Block, digest, in_words, is_strange, objects_of
from netorch.drivers.nft.reader import Reader
from netorch.drivers.nft.wire import messages as wire
from netorch.drivers.nft.wire.encode import messages
from netorch.errors import KernelError
from netorch.state.base import OVERLAY, KernelObject
from netorch.state.nft import NftElement, NftMap, PortChain
from netorch.state.op import Create
from policy import nftgen
from tests import chains

PORT = "v-0013880000001"
CHAIN_OF_PORT = nftgen.port_chain(5000, PORT, "06:00:00:00:00:01", "10.44.12.4", ("2001:db8::4",))
OBJECTS: tuple[KernelObject, ...] = (*chains.MAPS, *chains.CHAINS, *chains.PEERS)
REQUESTS = {
    wire.NEW_CHAIN: wire.GET_CHAIN,
    wire.NEW_RULE: wire.GET_RULE,
    wire.NEW_SET: wire.GET_SET,
    wire.NEW_ELEMENTS: wire.GET_ELEMENTS,
}
SPECS = {held.name: held.spec for held in chains.MAPS}
_TABLE, _SET, _EXPRESSIONS = 1, 2, 4


class Table:
    """Answers requests with the messages that made a table, like the kernel."""

    def __init__(self, *objects: KernelObject) -> None:
        self.asked: Counter[int] = Counter()
        self.held: dict[int, list[bytes]] = {wire.GET_TABLE: [bytes(4) + attr_text(_TABLE, "netorch") + attr(2, bytes(4))]}
        ops = [Create(obj) for obj in objects]
        for message in messages([*preparations(ops), *steps(ops)], lambda change: change.spec or SPECS[change.set]):
            request = REQUESTS.get(HEADER.unpack_from(message)[1])  # skip messages that empty a new chain
            if request is not None:
                self.held.setdefault(request, []).append(message[HEADER.size :])

    def stream(self, kind: int, body: bytes) -> Iterator[Answer]:
        """Answer a dump."""
        self.asked[kind] += 1
        asked = attrs(body, 4)
        for answer in self.held.get(kind, []):
            if kind != wire.GET_ELEMENTS or attrs(answer, 4)[_SET] == asked[_SET]:
                yield kind, 0, answer

    def get(self, kind: int, body: bytes) -> bytes:
        """Answer a request for one object."""
        self.asked[kind] += 1
        return b"as before"

    def read(self, family: str) -> list[Block]:
        """Return a reader's result for the answers."""
        reader = Reader.__new__(Reader)
        reader._channel = self  # type: ignore[assignment]
        return reader.table(family)


def test_what_a_vpc_has_is_read_in_the_words_that_made_it() -> None:
    blocks = Table(*OBJECTS).read("inet")
    assert not any(map(is_strange, blocks))
    assert {obj.key: obj for obj in objects_of(OVERLAY, "inet", blocks)} == {obj.key: obj for obj in OBJECTS}


def test_a_ports_chain_is_read_in_the_words_that_made_it() -> None:
    assert list(objects_of(OVERLAY, "netdev", Table(CHAIN_OF_PORT).read("netdev"))) == [CHAIN_OF_PORT]


def test_a_ports_chain_at_another_hook_has_none_of_our_rules() -> None:
    table = Table(CHAIN_OF_PORT)
    table.held[wire.GET_CHAIN] = [table.held[wire.GET_CHAIN][0].replace(PORT.encode() + b"\0", b"v-0013880000002\0")]
    table.held[wire.GET_CHAIN][0] = table.held[wire.GET_CHAIN][0].replace(b"v-0013880000002", PORT.encode(), 1)  # its name
    assert list(objects_of(OVERLAY, "netdev", table.read("netdev"))) == [PortChain(vni=5000, ifname=PORT, rules=())]


def test_elements_cost_a_request_for_each_set_and_all_else_one_for_each_kind() -> None:
    table = Table(*OBJECTS)
    table.read("inet")
    sets = table.asked.pop(wire.GET_ELEMENTS)
    assert sets == len(table.held[wire.GET_SET])
    assert table.asked.pop(wire.GET_GENERATION) == 2
    assert set(table.asked.values()) == {1}
    assert len(table.asked) == 6


def test_a_table_that_changes_meanwhile_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table, generations = Table(*chains.MAPS), iter([b"1", b"2", b"2", b"2"])
    monkeypatch.setattr(table, "get", lambda kind, body: next(generations))
    assert len(table.read("inet")) == 1 + len(chains.MAPS)
    assert table.asked[wire.GET_TABLE] == 2


def test_a_table_whose_set_goes_while_it_is_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table, failures = Table(*chains.MAPS), iter([True])
    stream = table.stream

    def refusing(kind: int, body: bytes) -> Iterator[Answer]:
        if kind == wire.GET_ELEMENTS and next(failures, False):
            raise OSError(errno.ENOENT, "there is no such set")
        return stream(kind, body)

    monkeypatch.setattr(table, "stream", refusing)
    assert len(table.read("inet")) == 1 + len(chains.MAPS)
    assert table.asked[wire.GET_TABLE] == 2


def test_a_table_that_the_kernel_does_not_show_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(kind: int, body: bytes) -> Iterator[Answer]:
        raise OSError(errno.EPERM, "refused")

    table = Table()
    monkeypatch.setattr(table, "stream", refusing)
    with pytest.raises(KernelError, match="read nft table inet netorch"):
        table.read("inet")


def strange_rule(chain: str) -> bytes:
    """Return a rule with an expression that none of our rules has."""
    log = nested(wire.ITEM, attr_text(1, "log"), nested(2, attr_text(2, "a; } drop")))
    return bytes(4) + attr_text(_TABLE, "netorch") + attr_text(2, chain) + nested(_EXPRESSIONS, log)


def test_what_there_are_no_words_for_is_told_by_bytes_and_as_libnftables_lists_it() -> None:
    table = Table(*OBJECTS)
    table.held[wire.GET_RULE].append(strange_rule(chains.EGRESS))
    blocks = table.read("inet")
    assert [block.name for block in blocks if is_strange(block)] == [chains.EGRESS]
    listed = [Block("chain", chains.EGRESS, ["log drop"], []), Block("chain", chains.INGRESS, ["wrong"], [])]
    (send,) = [block for block in in_words(blocks, listed) if block.name == chains.EGRESS]
    (take,) = [block for block in in_words(blocks, listed) if block.name == chains.INGRESS]
    assert send.lines == ["log drop"]
    assert take.lines != ["wrong"]


def element_of(name: str, key: bytes, more: bytes = b"") -> bytes:
    """Return a message with one element."""
    item = nested(wire.ITEM, nested(1, attr(wire.VALUE, key)), more)
    return bytes(4) + attr_text(_TABLE, "netorch") + attr_text(_SET, name) + nested(3, item)


def test_an_element_with_more_to_it_than_ours_is_none_of_ours() -> None:
    table = Table(NftMap(vni=5000, name="identity-001388.4", spec="type ipv4_addr : mark"), *chains.PEERS[:1])
    expiring = attr(4, bytes(8))
    table.held[wire.GET_ELEMENTS].append(element_of("identity-001388.4", bytes((10, 0, 0, 66)), expiring))
    (held,) = [block for block in table.read("inet") if block.kind == "map"]
    assert len(held.elements) == 2
    assert is_strange(held)


@pytest.mark.parametrize("changed", ["chain", "rule", "element"])
def test_the_digest_is_of_what_belongs_to_no_vpc_whatever_it_says(changed: str) -> None:
    def shared(number: int) -> Table:
        table = Table(*OBJECTS)
        name = "other" if changed == "chain" and number else "sent"
        table.held[wire.GET_CHAIN].append(
            bytes(4) + attr_text(_TABLE, "netorch") + attr_text(3, name) + attr(2, bytes([number] * 8))
        )
        rule = strange_rule(name) if changed != "rule" or not number else strange_rule(name).replace(b"drop", b"pass")
        table.held[wire.GET_RULE].append(rule)
        key = bytes((1, 0, 0, number if changed == "element" else 0))
        body = attr_text(_TABLE, "netorch") + attr_text(2, "odd") + attr(4, bytes((0, 0, 0, 63))) + attr(5, bytes((0, 0, 0, 4)))
        table.held[wire.GET_SET].append(bytes(4) + body)
        table.held[wire.GET_ELEMENTS].append(element_of("odd", key))
        return table

    digests = [digest(OVERLAY, "inet", shared(number).read("inet")) for number in (0, 1)]
    assert digests[0] != digests[1]
    fewer = shared(0)
    fewer.held[wire.GET_RULE] = [rule for rule in fewer.held[wire.GET_RULE] if chains.EGRESS.encode() not in rule]
    assert digest(OVERLAY, "inet", fewer.read("inet")) == digests[0]


def test_elements_of_shared_maps_are_read_by_the_types_of_their_set() -> None:
    spec = "type ifname : verdict; size 65535"
    table = Table(*chains.MAPS)
    wanted = NftElement(netns=OVERLAY, family="inet", set="egress_policy", items=(PORT,), vni=5000, value=f"goto {chains.BORDER}")
    made = messages(steps([Create(wanted)]), lambda change: spec)
    table.held[wire.GET_ELEMENTS] = [made[0][HEADER.size :]]
    numbers = {3: 0x8, 4: 41, 5: 16, 6: 0xFFFFFF00, 7: 16}
    described = b"".join(attr(kind, number.to_bytes(4, "big")) for kind, number in numbers.items())
    size = nested(9, attr(1, (65535).to_bytes(4, "big")))
    table.held[wire.GET_SET].append(bytes(4) + attr_text(_TABLE, "netorch") + attr_text(2, "egress_policy") + described + size)
    blocks = table.read("inet")
    assert wanted in objects_of(OVERLAY, "inet", blocks)
    assert next(block for block in blocks if block.name == "egress_policy").spec == spec
