"""The connections to which charon's findings belong."""

from __future__ import annotations

from netorch.drivers.charon.complaints import about, follows
from netorch.drivers.charon.news import UNNAMED, Finding, News
from netorch.model.outside import tunnel_problems as words
from netorch.state.daemons.ike import IkeConnection
from tests.unit.drivers.charon.connections import PLAIN, changed

OTHER = changed(name="vpn-00138900000000001-1", remote="203.0.113.7", remote_identity="203.0.113.7")
ANYBODY = changed(name="vpn-00138900000000002-1", remote="", remote_identity="cgw.example")
ALL = (PLAIN, OTHER, ANYBODY)


def found(finding: Finding) -> list[tuple[IkeConnection, str, dict[str, str]]]:
    return list(about(finding, ALL))


def finding(word: str = words.WRONG_PSK, name: str = UNNAMED, remote: str = "", identity: str = "", **facts: str) -> Finding:
    return Finding(name=name, remote=remote, identity=identity, word=word, facts=facts)


def test_a_name_decides_then_the_address_then_the_identity() -> None:
    assert [one for one, _, _ in found(finding(name=OTHER.name, remote=PLAIN.remote))] == [OTHER]
    assert [one for one, _, _ in found(finding(remote=PLAIN.remote, identity="cgw.example"))] == [PLAIN]
    assert [one for one, _, _ in found(finding(remote="192.0.2.1", identity="cgw.example"))] == [ANYBODY]


def test_of_two_customers_with_one_address_the_other_one_hears_nothing_of_who_has_named_himself() -> None:
    named = changed(name="vpn-00138900000000003-1", remote_identity="cgw2.example")
    for identity, whose in ((PLAIN.remote_identity, PLAIN), ("CGW2.example", named)):
        said = finding(remote=PLAIN.remote, identity=identity)
        assert [one for one, _, _ in about(said, (PLAIN, named))] == [whose]


def test_a_stranger_is_nobody_s_business() -> None:
    assert found(finding(words.NO_PROPOSAL, remote="192.0.2.1", ours="a", theirs="b")) == []
    assert found(finding(words.WRONG_IDENTITY, remote="192.0.2.1", identity="stranger", theirs="stranger")) == []


def test_a_customer_from_another_address_is_told_of() -> None:
    moved = finding(words.WRONG_IDENTITY, remote="192.0.2.1", identity=OTHER.remote_identity, theirs=OTHER.remote_identity)
    assert found(moved) == [(OTHER, words.OTHER_ADDRESS, {"ours": "203.0.113.7", "theirs": "192.0.2.1"})]


def test_what_says_less_of_the_same_attempt_does_not_replace_what_said_more() -> None:
    assert follows(words.SILENT, words.WRONG_PSK)
    assert not follows(words.WRONG_PSK, words.SILENT)
    assert not follows(words.SILENT, words.NO_PROPOSAL)


def test_strangers_cannot_fill_the_memory() -> None:
    news = News()
    for number in range(5000):
        news.read({"ikesa-uniqueid": str(number), "ikesa-name": UNNAMED, "msg": "received packet: from 192.0.2.1[500] to x"})
    assert len(news._talks) <= 1024


def test_lines_of_ike_sas_are_not_mixed_up() -> None:
    news = News()
    for number, remote in (("1", PLAIN.remote), ("2", OTHER.remote)):
        news.read({"ikesa-uniqueid": number, "ikesa-name": UNNAMED, "msg": f"received packet: from {remote}[500] to x[500]"})
    line = {"ikesa-uniqueid": "1", "ikesa-name": UNNAMED, "msg": "DH group MODP_1024 unacceptable, requesting MODP_2048"}
    said = news.read(line)  # type: ignore[arg-type]
    assert said is not None
    assert [(one, word) for one, word, _ in found(said)] == [(PLAIN, words.INVALID_KE)]


def test_what_strangers_say_takes_little_room_however_long_it_is() -> None:
    news = News()
    lines = (
        "received packet: from 198.18.0.80[500] to 198.18.0.21[500] (60000 bytes)",
        f"received proposals: {'IKE:AES_CBC_256/' * 10_000}",
        "configured proposals: IKE:AES_CBC_256",
    )
    found = [news.read({"ikesa-uniqueid": "1", "ikesa-name": UNNAMED, "msg": line}) for line in lines][-1]
    assert found is not None
    assert found.word == words.NO_PROPOSAL
    assert len(found.facts["theirs"]) < 1 << 14
