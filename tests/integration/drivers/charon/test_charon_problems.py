"""Why a tunnel is not up: each mistake gets the right problem, with the values found, from a real negotiation."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from netorch.drivers.charon.control import Section, Value
from netorch.drivers.daemons.sealing import EdgeKey
from netorch.model.outside import tunnel_problems as words
from netorch.model.outside.secrets import Secret, seal
from netorch.state.daemons.ike import IkeConnection
from netorch.state.op import Create, Replace
from tests.integration.drivers.charon.certificates import Authority, Certificate
from tests.integration.drivers.charon.rig import EDGE_ADDRESS, PSK, Site, customer_connection, psk, site
from tests.rig.world import wait_for

pytestmark = pytest.mark.root

CUSTOMER = "198.18.0.80"
OURS = "AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048"
NARROW = {"local_traffic": "10.1.0.0/16", "remote_traffic": "192.168.1.0/24"}
OTHER_NETWORKS: Section = {"local_ts": ["192.168.5.0/24"], "remote_ts": ["10.3.0.0/16"]}


class Pair:
    """An edge and a customer that try all mistakes with each other, one after the other."""

    def __init__(self, world: Site) -> None:
        self.edge, self.customer, self.connection = world.edge, world.customer(), world.edge.connection()
        self.world = world
        self.edge.create(self.connection)

    def expect(self, word: str, **changes: object) -> Mistake:
        """Replace the edge's connection."""
        wanted = msgspec.structs.replace(self.edge.connection(), **changes)
        if wanted != self.connection:
            self.edge.apply(Replace(self.connection, wanted))
        self.connection = wanted
        self.customer.forget()
        self.edge.wait_down(wanted)
        return Mistake(self, word)


class Mistake:
    """A mistake to make, and the problem that must be reported for it."""

    def __init__(self, pair: Pair, word: str) -> None:
        self._pair, self._word = pair, word

    def by_customer(self, secret: str = PSK, owner: str = CUSTOMER, edge: str = EDGE_ADDRESS, **options: Value) -> dict[str, str]:
        """Let the customer initiate a tunnel with these options; return the facts."""
        customer = self._pair.customer
        customer.load(customer_connection(CUSTOMER, **options), psk(secret, owner, edge))
        assert customer.initiate() != ""
        return self._pair.edge.wait_problem(self._pair.connection, self._word)

    def by_edge(self, secret: str = PSK, owner: str = CUSTOMER, edge: str = EDGE_ADDRESS, **options: Value) -> dict[str, str]:
        """Let the edge initiate a tunnel to a customer with these options; return the facts."""
        self._pair.customer.load(customer_connection(CUSTOMER, **options), psk(secret, owner, edge))
        return self._pair.edge.wait_problem(self._pair.connection, self._word)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with site(tmp_path_factory.mktemp("site")) as world:
        yield Pair(world)


BOTH = pytest.mark.parametrize("version", [1, 2])


@BOTH
def test_another_pre_shared_key(pair: Pair, version: int) -> None:
    assert pair.expect(words.WRONG_PSK).by_customer("wrong.wrong.wrong", version=str(version)) == {}


def test_another_pre_shared_key_is_refused_by_the_customer(pair: Pair) -> None:
    assert pair.expect(words.REFUSED, version=2, initiates=True).by_edge("wrong.wrong.wrong") == {}


def test_another_pre_shared_key_when_this_side_begins_by_ikev1(pair: Pair) -> None:
    assert pair.expect(words.WRONG_PSK, version=1, initiates=True).by_edge("wrong.wrong.wrong", version="1") == {}


@BOTH
def test_no_common_proposal(pair: Pair, version: int) -> None:
    mistake = pair.expect(words.NO_PROPOSAL)
    facts = mistake.by_customer(version=str(version), proposals=["aes128-sha1-modp1024"])
    assert facts == {"ours": OURS, "theirs": "AES_CBC_128/HMAC_SHA1_96/PRF_HMAC_SHA1/MODP_1024"}


@BOTH
def test_no_common_proposal_when_this_side_begins(pair: Pair, version: int) -> None:
    mistake = pair.expect(words.NO_PROPOSAL, version=version, initiates=True)
    assert mistake.by_edge(version=str(version), proposals=["aes128-sha1-modp1024"]) == {"ours": "aes256-sha256-modp2048"}


@BOTH
def test_no_common_proposal_of_phase_2(pair: Pair, version: int) -> None:
    mistake = pair.expect(words.CHILD_NO_PROPOSAL)
    facts = mistake.by_customer(version=str(version), child={"esp_proposals": ["aes128-sha1"]})
    assert facts["theirs"] == "AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ"
    assert facts["ours"].startswith("AES_CBC_256/HMAC_SHA2_256_128/MODP_2048")


@BOTH
def test_no_common_proposal_of_phase_2_when_this_side_begins(pair: Pair, version: int) -> None:
    mistake = pair.expect(words.CHILD_NO_PROPOSAL, version=version, initiates=True)
    facts = mistake.by_edge(version=str(version), child={"esp_proposals": ["aes128-sha1"]})
    assert facts == {"ours": "aes256-sha256-modp2048"}


@BOTH
def test_other_networks(pair: Pair, version: int) -> None:
    facts = pair.expect(words.TS_UNACCEPTABLE, **NARROW).by_customer(version=str(version), child=OTHER_NETWORKS)
    assert facts == {"ours": "10.1.0.0/16 === 192.168.1.0/24", "theirs": "10.3.0.0/16 === 192.168.5.0/24"}


@BOTH
def test_other_networks_when_this_side_begins(pair: Pair, version: int) -> None:
    mistake = pair.expect(words.TS_UNACCEPTABLE, version=version, initiates=True, **NARROW)
    assert mistake.by_edge(version=str(version), child=OTHER_NETWORKS) == {"ours": "10.1.0.0/16 === 192.168.1.0/24"}


@BOTH
def test_another_identity_of_the_customer_s(pair: Pair, version: int) -> None:
    mistake = pair.expect(words.WRONG_IDENTITY)
    facts = mistake.by_customer(owner="other", version=str(version), local={"auth": "psk", "id": "other"})
    assert facts == {"theirs": "other", "ours": CUSTOMER}


def test_another_identity_that_the_edge_is_expected_to_have(pair: Pair) -> None:
    mistake = pair.expect(words.WRONG_EDGE_IDENTITY)
    facts = mistake.by_customer(edge="203.0.113.9", remote={"auth": "psk", "id": "203.0.113.9"})
    assert facts == {"theirs": "203.0.113.9", "ours": EDGE_ADDRESS}


@pytest.mark.parametrize(("ours", "theirs"), [(1, 2), (2, 1)])
def test_another_version_of_ike(pair: Pair, ours: int, theirs: int) -> None:
    facts = pair.expect(words.IKE_VERSION, version=ours).by_customer(version=str(theirs))
    assert facts == {"ours": f"IKEv{ours}", "theirs": f"IKEv{theirs}"}


def test_a_group_that_the_customer_does_not_use_after_all(pair: Pair) -> None:
    # The packet contains a key of the first group, but the second is accepted: the customer retries with that.
    pair.expect("")
    pair.customer.load(
        customer_connection(CUSTOMER, proposals=["aes256-sha256-modp1024-modp2048"]), psk(PSK, CUSTOMER, EDGE_ADDRESS)
    )
    assert pair.customer.initiate() == ""
    assert pair.edge.wait_up(pair.connection).problem == ""


def test_an_end_by_the_customer(pair: Pair) -> None:
    pair.expect("")
    pair.customer.load(customer_connection(CUSTOMER), psk(PSK, CUSTOMER, EDGE_ADDRESS))
    assert pair.customer.initiate() == ""
    pair.edge.wait_up(pair.connection)
    pair.customer.forget()
    assert pair.edge.wait_problem(pair.connection, words.CLOSED) == {"remote": CUSTOMER}


def test_a_customer_who_answers_nothing(pair: Pair) -> None:
    pair.customer.daemon.stop()
    wanted = pair.edge.connection(initiates=True)
    pair.edge.apply(Replace(pair.connection, wanted))
    pair.connection = wanted
    assert pair.edge.wait_problem(wanted, words.SILENT) == {"remote": CUSTOMER}
    pair.customer.start()
    pair.expect("")


def test_a_customer_who_comes_from_another_address_than_its_gateway_has(pair: Pair) -> None:
    moved = pair.world.customer("c2", "198.18.0.81")
    anybody = pair.edge.connection(2, remote="", remote_identity="somebody.example")
    wanted = pair.edge.connection(remote_identity="cgw.example")
    pair.edge.apply(Create(anybody), Replace(pair.connection, wanted))
    pair.connection = wanted
    moved.load(
        customer_connection("198.18.0.81", local={"auth": "psk", "id": "cgw.example"}), psk(PSK, "cgw.example", EDGE_ADDRESS)
    )
    assert moved.initiate() != ""
    facts = pair.edge.wait_problem(wanted, words.OTHER_ADDRESS)
    assert facts == {"ours": CUSTOMER, "theirs": "198.18.0.81"}
    assert pair.edge.status(anybody).problem == words.WAITING, "it is none of its business"


def certified(pair: Pair, authority: Authority, ours: Certificate) -> IkeConnection:
    return pair.edge.connection(
        local_identity="edge.example",
        remote_identity="cgw.example",
        certificate=ours.certificate,
        authority=authority.certificate,
        secret=seal(pair.edge.key.public, Secret(key=ours.key)),
    )


@pytest.mark.parametrize(
    ("days", "stranger", "word", "reason"),
    [
        (-1, False, words.CERTIFICATE_EXPIRED, "valid from"),
        (365, True, words.CERTIFICATE_UNTRUSTED, "no such authority"),
    ],
    ids=["expired", "of another authority"],
)
def test_a_certificate_that_is_not_taken(pair: Pair, days: int, stranger: bool, word: str, reason: str) -> None:
    directory = pair.world.directory / f"ca{word}"
    authority = Authority(directory, "an-authority")
    signer = Authority(directory / "other", "another-authority") if stranger else authority
    theirs = signer.sign("cgw.example", days)
    wanted = certified(pair, authority, authority.sign("edge.example"))
    pair.edge.apply(Replace(pair.connection, wanted))
    pair.connection = wanted
    pair.customer.forget()
    local: Section = {"auth": "pubkey", "id": "cgw.example", "certs": [theirs.certificate]}
    remote: Section = {"auth": "pubkey", "id": "edge.example", "cacerts": [authority.certificate]}
    pair.customer.load(customer_connection(CUSTOMER, local=local, remote=remote), {"type": "any", "data": theirs.key})
    assert pair.customer.initiate() != ""
    facts = pair.edge.wait_problem(wanted, word)
    assert "cgw.example" in facts["theirs"]
    assert reason in facts["reason"]


def test_every_word_that_was_seen_makes_a_sentence(pair: Pair) -> None:
    status = pair.edge.status(pair.connection)
    assert words.sentence(status.problem, status.facts)


def test_a_secret_for_another_edge_is_refused_and_leaves_the_others_alone(pair: Pair) -> None:
    foreign = pair.edge.connection(
        3, remote="198.18.0.83", secret=seal(EdgeKey(pair.world.directory / "other").public, Secret(psk=PSK))
    )
    (failure,) = pair.edge.kernel.apply([Create(foreign), Create(other := pair.edge.connection(4, remote="198.18.0.84"))])
    assert failure.op.obj == foreign
    assert "it was sealed for another key than this edge has" in str(failure.error)
    found = pair.edge.kernel.dump()
    assert foreign.key not in found
    assert found[other.key] == other
    wait_for(lambda: other.name in pair.edge.kernel.tunnels(), "the other tunnel")
