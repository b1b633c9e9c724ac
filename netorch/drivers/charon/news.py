"""charon's log during negotiations, parsed for the reason why a tunnel does not come up; pure.

Only the log has that reason. A line identifies its IKE_SA by a number. The peer is known before the IKE_SA's connection, so
lines with the same number are combined. Source: the messages of strongSwan 5.9.8, as seen by
tests/integration/drivers/charon; unknown lines are ignored.

Two lines in close succession may arrive in reverse order: charon lets any of its threads send the next one (`raise_events` in
src/libcharon/plugins/vici/vici_logger.c). So a verdict waits for the line with its facts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from netorch.drivers.charon.control import Section, text
from netorch.model.outside import tunnel_problems as words

UNNAMED: Final = "(unnamed)"  # an IKE_SA whose connection is not known yet
_MOST: Final = 1024  # negotiations to remember: strangers can start any number of them
_LONGEST: Final = 1 << 14  # characters per line: strangers' proposals and identities may be as long as a packet


class Talk(msgspec.Struct):
    """What is known about an IKE_SA during negotiation."""

    remote: str = ""  # address
    version: str = ""  # IKEv1 or IKEv2
    identity: str = ""  # the peer's own identity
    wanted: str = ""  # the identity that the peer expects of this edge
    theirs: str | None = None  # the peer's rejected proposals, once logged
    ours: str | None = None  # and the proposals configured here
    is_unknown: bool = False  # no connection was found for the peer's identity
    is_refused: bool = False  # no connection was found for its address and version
    began: bool = False  # this side initiated
    established: bool = True  # an IKE_SA whose start was not logged is older than this agent


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Why an IKE_SA or a CHILD_SA did not come up, or has ended."""

    name: str  # of the connection, or UNNAMED
    remote: str
    identity: str
    word: str
    facts: dict[str, str]


class News:
    """Combines log lines."""

    def __init__(self) -> None:
        self._talks: dict[str, Talk] = {}  # by the IKE_SA's number

    def read(self, line: Section) -> Finding | None:
        """Return the finding that a log line completes, if any."""
        number, said = text(line, "ikesa-uniqueid"), text(line, "msg")[:_LONGEST]
        if not number:
            return None
        talk = self._talks.get(number)
        if talk is None:
            if len(self._talks) >= _MOST:
                del self._talks[next(iter(self._talks))]
            talk = self._talks[number] = Talk()
        for pattern, read in _LINES:
            found = pattern.search(said)
            if found is not None:
                word, facts = read(talk, found) or ("", {})
                if not word:
                    return None
                name = text(line, "ikesa-name") or UNNAMED
                return Finding(name=name, remote=talk.remote, identity=talk.identity, word=word, facts=facts)
        return None


Verdict = tuple[str, dict[str, str]] | None
_Reader = Callable[[Talk, re.Match[str]], Verdict]


def _from(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.remote = found[1]
    return None


def _request(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.version = "IKEv2" if found[1] == "IKE_SA_INIT" else "IKEv1"
    talk.established = False
    return _of_version(talk)


def _began(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.began, talk.established, talk.remote = True, False, found[1]
    return None


def _established(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.established = True
    return None


def _identities(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.wanted, talk.identity = found[1] or "", found[2]
    return _of_identity(talk)


def _no_config(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.is_refused = True
    return _of_version(talk)


def _of_version(talk: Talk) -> Verdict:
    if not (talk.is_refused and talk.version):
        return None
    talk.is_refused = False
    return words.IKE_VERSION, {"theirs": talk.version}


def _no_peer(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.is_unknown = True
    return _of_identity(talk)


def _of_identity(talk: Talk) -> Verdict:
    if not (talk.is_unknown and talk.identity):
        return None
    talk.is_unknown = False
    return words.WRONG_IDENTITY, {"theirs": talk.identity, "wanted": talk.wanted}


def _received(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.theirs = found[1]
    return _of_proposals(talk)


def _configured(talk: Talk, found: re.Match[str]) -> Verdict:
    talk.ours = found[1]
    return _of_proposals(talk)


def _of_proposals(talk: Talk) -> Verdict:
    theirs, ours = talk.theirs, talk.ours
    if theirs is None or ours is None or (theirs and theirs[:4] != ours[:4]):  # IKE: and ESP: are different phases
        return None
    talk.theirs = talk.ours = None
    word = words.CHILD_NO_PROPOSAL if ours.startswith("ESP:") else words.NO_PROPOSAL
    return word, {"ours": _plain(ours), "theirs": _plain(theirs)}


def _refused_proposals(talk: Talk, found: re.Match[str]) -> Verdict:
    return (words.CHILD_NO_PROPOSAL if talk.established else words.NO_PROPOSAL), {}


def _given_up(talk: Talk, found: re.Match[str]) -> Verdict:
    return (words.DPD_TIMEOUT if talk.established else words.SILENT), {"remote": talk.remote}


def _always(word: str, *names: str) -> _Reader:
    """Return a reader for a line that means this reason; the groups of its pattern are the facts with these names."""
    return lambda talk, found: (word, dict(zip(names, found.groups(), strict=True)))


def _plain(proposals: str) -> str:
    """Return proposals without their protocol prefixes."""
    return re.sub(r"\b(IKE|ESP):", "", proposals)


def _line(pattern: str, reader: _Reader) -> tuple[re.Pattern[str], _Reader]:
    return re.compile(pattern), reader


_LINES: Final = (
    _line(r"^received packet: from (\S+)\[\d+\]", _from),
    _line(r"^parsed (IKE_SA_INIT|ID_PROT|AGGRESSIVE) request 0 \[ SA", _request),
    _line(r"^initiating (?:Main Mode |Aggressive Mode )?IKE_SA \S+ to (\S+)", _began),
    _line(r"^IKE_SA \S+ established between", _established),
    _line(r"^looking for .*peer configs matching [^\[]*?(?:\[(.*)\])?\.\.\.[^\[]*\[(.*)\]$", _identities),
    _line(r"^received proposals: (.*)", _received),
    _line(r"^configured proposals: (.*)", _configured),
    _line(r"^received NO_PROPOSAL_CHOSEN (?:notify|error)", _refused_proposals),
    _line(r"^DH group (\S+) unacceptable, requesting (\S+)", _always(words.INVALID_KE, "theirs", "ours")),
    _line(r"^traffic selectors (.*) unacceptable", _always(words.TS_UNACCEPTABLE, "theirs")),
    _line(
        r"^no matching CHILD_SA config found for (.*) === (.*)",
        lambda talk, found: (words.TS_UNACCEPTABLE, {"theirs": f"{found[2]} === {found[1]}"}),
    ),
    _line(r"^received (?:TS_UNACCEPTABLE|INVALID_ID_INFORMATION) ", _always(words.TS_UNACCEPTABLE)),
    _line(r"^tried \d+ shared keys? for .* but MAC mismatched", _always(words.WRONG_PSK)),
    _line(r"^invalid (?:ID|HASH)_V1 payload length, decryption failed", _always(words.WRONG_PSK)),
    _line(r"^no (?:matching )?peer config found", _no_peer),
    _line(r"^received AUTHENTICATION_FAILED ", _always(words.REFUSED)),
    _line(r"^no issuer certificate found for (.*)", _always(words.CERTIFICATE_UNTRUSTED, "theirs")),
    _line(r"^subject certificate invalid \((.*)\)", _always(words.CERTIFICATE_EXPIRED, "reason")),
    _line(r"^no trusted \S+ public key found for '(.*)'", _always(words.CERTIFICATE_UNTRUSTED, "theirs")),
    _line(r"^signature validation failed", _always(words.CERTIFICATE_UNTRUSTED)),
    _line(r"^no IKE config found for \S+\.\.\.\S+, sending", _no_config),
    _line(r"^(?:giving up after \d+ retransmits|DPD check timed out)", _given_up),
    _line(r"^received DELETE for IKE_SA", lambda talk, found: (words.CLOSED, {"remote": talk.remote})),
)
