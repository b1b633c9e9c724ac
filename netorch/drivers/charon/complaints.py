"""Assignment of findings to connections, and the reason to report there; pure.

Before the peer has identified itself, only its address is known. So a finding is assigned by connection name, else by the
address of the customer gateway, else by identity. Findings that match no connection are dropped: an edge on the internet
hears from strangers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from netorch.drivers.charon.news import Finding
from netorch.model.outside import tunnel_problems as words
from netorch.model.outside.ike_identity import is_same
from netorch.state.daemons.ike import IkeConnection

_VERSIONS: Final = {0: "IKEv1 and IKEv2", 1: "IKEv1", 2: "IKEv2"}
# Reasons that do not replace these earlier ones of the same attempt: their log lines come later, but say less.
_FOLLOWS: Final = {
    words.SILENT: frozenset({words.WRONG_PSK}),  # IKEv1 retransmits a packet whose answer cannot be decrypted
    words.CERTIFICATE_UNTRUSTED: frozenset({words.CERTIFICATE_EXPIRED, words.CERTIFICATE_UNTRUSTED}),
}


def about(finding: Finding, connections: Iterable[IkeConnection]) -> Iterator[tuple[IkeConnection, str, dict[str, str]]]:
    """Yield the connections that a finding is about, each with the reason and facts."""
    known = tuple(connections)
    named = [connection for connection in known if connection.name == finding.name]
    by_address = named or [connection for connection in known if finding.remote and connection.remote == finding.remote]
    if by_address:
        same = [connection for connection in by_address if is_same(connection.remote_identity, finding.identity)]
        yield from ((connection, *_said(finding, connection)) for connection in same or by_address)
        return
    for connection in known:
        if finding.identity and connection.remote_identity == finding.identity:
            if connection.remote:
                yield connection, words.OTHER_ADDRESS, {"ours": connection.remote, "theirs": finding.remote}
            else:
                yield connection, *_said(finding, connection)


def follows(word: str, former: str) -> bool:
    """Return whether a reason is less specific than the previous one of the same attempt."""
    return former in _FOLLOWS.get(word, frozenset())


def _said(finding: Finding, connection: IkeConnection) -> tuple[str, dict[str, str]]:
    word, facts = finding.word, dict(finding.facts)
    wanted = facts.pop("wanted", "")
    match word:
        case words.WRONG_IDENTITY if facts["theirs"] == connection.remote_identity and wanted:
            word, facts = words.WRONG_EDGE_IDENTITY, {"theirs": wanted, "ours": connection.local_identity}
        case words.WRONG_IDENTITY:
            facts["ours"] = connection.remote_identity
        case words.IKE_VERSION:
            facts["ours"] = _VERSIONS[connection.version]
        case words.NO_PROPOSAL:
            facts.setdefault("ours", ", ".join(connection.proposals))
        case words.CHILD_NO_PROPOSAL:
            facts.setdefault("ours", ", ".join(connection.child_proposals))
        case words.TS_UNACCEPTABLE:
            facts["ours"] = f"{connection.local_traffic} === {connection.remote_traffic}"
        case words.CERTIFICATE_EXPIRED | words.CERTIFICATE_UNTRUSTED:
            facts.setdefault("theirs", finding.identity or connection.remote_identity)
            facts.setdefault("reason", "this edge has no such authority for the connection")
        case words.SILENT | words.DPD_TIMEOUT | words.CLOSED if not facts.get("remote"):
            facts["remote"] = connection.remote or "its address"
    return word, facts
