"""What charon tells while it negotiates, read for the reason why a tunnel does not come up; pure.

charon's log is the only place where it says that. A line names the IKE_SA that it is about by a number. Who is at its other end
is known before it is known which connection it is of, so lines of one number are put together. Source: the messages of strongSwan
5.9.8, as tests/integration/drivers/charon sees them; a line that is not known says nothing.

Of two lines that follow each other closely the second one may come first: charon lets any of its threads send the next one
(`raise_events` in src/libcharon/plugins/vici/vici_logger.c). So a verdict waits for the line that says what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from netorch.drivers.charon.control import Section, text
from netorch.model.outside import tunnel_problems as words

UNNAMED: Final = "(unnamed)"  # an IKE_SA of which it is not known yet of which connection it is
_MOST: Final = 1024  # talks that are remembered: strangers begin as many as they like
_LONGEST: Final = 1 << 14  # characters of a line: what strangers propose, and call themselves, may be as long as a packet


class Talk(msgspec.Struct):
    """What is known of an IKE_SA that is being negotiated."""

    remote: str = ""  # address
    version: str = ""  # IKEv1 or IKEv2
    identity: str = ""  # as which the other end names itself
    wanted: str = ""  # as which it expects this edge
    theirs: str | None = None  # proposals of the other end that were not taken, once they were told
    ours: str | None = None  # and what this one would have taken
    is_unknown: bool = False  # whether no connection was found for who is there
    is_refused: bool = False  # whether none was found for its address and version
    began: bool = False  # whether this side did
    established: bool = True  # one that was not heard to begin is older than this agent


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Why an IKE_SA or a CHILD_SA did not come up, or has ended."""

    name: str  # of the connection, or UNNAMED
    remote: str
    identity: str
    word: str
    facts: dict[str, str]


class News:
    """Puts lines together."""

    def __init__(self) -> None:
        self._talks: dict[str, Talk] = {}  # by the number of the IKE_SA

    def read(self, line: Section) -> Finding | None:
        """Return what a line of the log lets conclude, if anything."""
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
    if theirs is None or ours is None or (theirs and theirs[:4] != ours[:4]):  # IKE: and ESP: are of two phases
        return None
    talk.theirs = talk.ours = None
    word = words.CHILD_NO_PROPOSAL if ours.startswith("ESP:") else words.NO_PROPOSAL
    return word, {"ours": _plain(ours), "theirs": _plain(theirs)}


def _refused_proposals(talk: Talk, found: re.Match[str]) -> Verdict:
    return (words.CHILD_NO_PROPOSAL if talk.established else words.NO_PROPOSAL), {}


def _given_up(talk: Talk, found: re.Match[str]) -> Verdict:
    return (words.DPD_TIMEOUT if talk.established else words.SILENT), {"remote": talk.remote}


def _always(word: str, *names: str) -> _Reader:
    """Return a reader of a line that says a word; the groups of its pattern are the facts of these names."""
    return lambda talk, found: (word, dict(zip(names, found.groups(), strict=True)))


def _plain(proposals: str) -> str:
    """Return proposals without the protocol before each."""
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
