"""Findings from several lines of charon's log, in any order of its threads."""

from __future__ import annotations

from itertools import permutations

import pytest

from netorch.drivers.charon.news import UNNAMED, Finding, News
from netorch.model.outside import tunnel_problems as words

REMOTE = "198.18.0.80"
FROM = f"received packet: from {REMOTE}[500] to 198.18.0.21[500] (300 bytes)"
OTHER_IKE = (
    "received proposals: IKE:AES_CBC_128/MODP_1024",
    "configured proposals: IKE:AES_CBC_256/MODP_2048, IKE:AES_GCM_16_256",
)
OTHER_ESP = ("received proposals: ESP:AES_CBC_128/NO_EXT_SEQ", "configured proposals: ESP:AES_CBC_256/NO_EXT_SEQ")
STRANGER = ("looking for pre-shared key peer configs matching 198.18.0.21...198.18.0.80[somebody]", "no peer config found")
OTHER_EDGE = ("looking for peer configs matching 198.18.0.21[nobody]...198.18.0.80[cgw.example]", "no matching peer config found")
IKEV1 = (
    "parsed ID_PROT request 0 [ SA V V ]",
    "no IKE config found for 198.18.0.21...198.18.0.80, sending NO_PROPOSAL_CHOSEN",
)
SAYS = {
    OTHER_IKE: (words.NO_PROPOSAL, {"theirs": "AES_CBC_128/MODP_1024", "ours": "AES_CBC_256/MODP_2048, AES_GCM_16_256"}),
    OTHER_ESP: (words.CHILD_NO_PROPOSAL, {"theirs": "AES_CBC_128/NO_EXT_SEQ", "ours": "AES_CBC_256/NO_EXT_SEQ"}),
    STRANGER: (words.WRONG_IDENTITY, {"theirs": "somebody", "wanted": ""}),
    OTHER_EDGE: (words.WRONG_IDENTITY, {"theirs": "cgw.example", "wanted": "nobody"}),
    IKEV1: (words.IKE_VERSION, {"theirs": "IKEv1"}),
}


def told(news: News, *lines: str) -> list[Finding]:
    found = (news.read({"ikesa-uniqueid": "1", "ikesa-name": UNNAMED, "msg": line}) for line in (FROM, *lines))
    return [finding for finding in found if finding is not None]


@pytest.mark.parametrize("lines", SAYS)
def test_a_verdict_is_told_once_with_its_facts_whichever_line_comes_first(lines: tuple[str, str]) -> None:
    word, facts = SAYS[lines]
    for order in permutations((*lines, "sending packet: from 198.18.0.21[500] to 198.18.0.80[500] (40 bytes)")):
        found = told(News(), *order)
        assert found == [Finding(name=UNNAMED, remote=REMOTE, identity=found[0].identity, word=word, facts=facts)], order


@pytest.mark.parametrize("lines", SAYS)
def test_what_was_said_once_is_said_of_the_next_attempt(lines: tuple[str, str]) -> None:
    news = News()
    assert [(found.word, found.facts) for found in told(news, *lines, *lines)] == [SAYS[lines]] * 2


def test_proposals_of_two_phases_are_not_taken_for_one() -> None:
    late = told(News(), OTHER_IKE[1], OTHER_ESP[0], OTHER_ESP[1])
    assert [(found.word, found.facts) for found in late] == [SAYS[OTHER_ESP]]


def test_proposals_that_charon_cannot_read_are_none() -> None:
    (found,) = told(News(), "received proposals: ", OTHER_ESP[1])
    assert (found.word, found.facts["theirs"]) == (words.CHILD_NO_PROPOSAL, "")
