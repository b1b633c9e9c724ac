"""Problems of VPN tunnels: an edge reports a key and facts (`TunnelStatus`), and this module turns them into a sentence.

A sentence says what is wrong, with the values found, then what to do. Its reader configures the customer's device. Facts are
from packets, mostly before authentication: they are only displayed, and no decision depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from netorch.errors import printable

Facts = Mapping[str, str]

# Problems without a CHILD_SA; the comments name the facts.
WAITING: Final = "waiting"
NO_PROPOSAL: Final = "no_proposal"  # ours, theirs
CHILD_NO_PROPOSAL: Final = "child_no_proposal"  # ours, theirs
INVALID_KE: Final = "invalid_ke"  # ours, theirs
TS_UNACCEPTABLE: Final = "ts_unacceptable"  # ours, theirs
WRONG_PSK: Final = "wrong_psk"
WRONG_IDENTITY: Final = "wrong_identity"  # ours, theirs
WRONG_EDGE_IDENTITY: Final = "wrong_edge_identity"  # ours, theirs
REFUSED: Final = "refused"
CERTIFICATE_UNTRUSTED: Final = "certificate_untrusted"  # theirs, reason
CERTIFICATE_EXPIRED: Final = "certificate_expired"  # theirs, reason
IKE_VERSION: Final = "ike_version"  # ours, theirs
SILENT: Final = "silent"  # remote
DPD_TIMEOUT: Final = "dpd_timeout"  # remote
CLOSED: Final = "closed"  # remote
OTHER_ADDRESS: Final = "other_address"  # ours, theirs
NO_DAEMON: Final = "no_daemon"  # reason
# Problems with a CHILD_SA.
RESTARTED: Final = "restarted"
NO_INBOUND: Final = "no_inbound"  # seconds


def sentence(word: str, facts: Facts) -> str:
    """Return the sentence of a problem, or the key and its facts if a newer edge reported an unknown key."""
    shown = {name: printable(value) for name, value in facts.items()}
    make = _SENTENCES.get(word)
    if make is None:
        return " ".join([printable(word), *(f"{name}={value}" for name, value in sorted(shown.items()))])
    return make(_Known(shown))


class _Known(dict[str, str]):
    """Facts with the default `unknown`."""

    def __missing__(self, name: str) -> str:
        return "unknown"


def _proposals(phase: str, facts: Facts) -> str:
    if "theirs" not in facts:
        return f"the device took none of this edge's {phase} proposals ({facts['ours']}); let it propose one of these"
    return f"the device proposes for {phase} {facts['theirs']}, and this edge takes {facts['ours']}; let them share one"


def _selectors(facts: Facts) -> str:
    if "theirs" not in facts:
        return (
            f"the device refused the traffic selectors {facts['ours']} (the VPC's side === its side); "
            "let it have the same, the other way round"
        )
    return (
        f"the device asks for the traffic selectors {facts['theirs']} (the VPC's side === its side), "
        f"and the connection has {facts['ours']}; use the same, or 0.0.0.0/0 for both"
    )


def _certificate(what: str, facts: Facts) -> str:
    return f"the device showed a certificate of {facts['theirs']} that is not {what}: {facts['reason']}; "


# "The device" is the customer's VPN device.
_SENTENCES: Final[Mapping[str, Callable[[Facts], str]]] = {
    WAITING: lambda _: "nothing has come from the device so far; let it begin the tunnel, or set the startup action to start",
    NO_PROPOSAL: lambda facts: _proposals("phase 1", facts),
    CHILD_NO_PROPOSAL: lambda facts: _proposals("phase 2", facts),
    INVALID_KE: lambda facts: (
        f"the device used the DH group {facts['theirs']}, was asked for {facts['ours']}, and did not come back; "
        "let it use that group"
    ),
    TS_UNACCEPTABLE: _selectors,
    WRONG_PSK: lambda _: "the device has another pre-shared key than this edge; set the same on both",
    WRONG_IDENTITY: lambda facts: (
        f"the device names itself {facts['theirs']}, and the connection expects {facts['ours']}; "
        "let it name itself so, or give the customer gateway that identity"
    ),
    WRONG_EDGE_IDENTITY: lambda facts: (
        f"the device expects the edge to be {facts['theirs']}, and it is {facts['ours']}; let the device expect that"
    ),
    REFUSED: lambda _: (
        "the device refused this edge's authentication; "
        "compare the pre-shared key or certificate, and both identities, on the device"
    ),
    CERTIFICATE_UNTRUSTED: lambda facts: (
        _certificate("trusted", facts) + "use one that the connection's authority has signed for that identity"
    ),
    CERTIFICATE_EXPIRED: lambda facts: _certificate("valid now", facts) + "renew it, or set the device's clock",
    IKE_VERSION: lambda facts: (
        f"the device speaks {facts['theirs']}, and the connection is {facts['ours']} only; let one of them do as the other"
    ),
    SILENT: lambda facts: (
        f"the device at {facts['remote']} answers nothing; look whether UDP ports 500 and 4500 are open both ways"
    ),
    DPD_TIMEOUT: lambda facts: (
        f"the device at {facts['remote']} stopped answering (dead peer detection); look whether it runs and is reached"
    ),
    CLOSED: lambda facts: f"the device at {facts['remote']} has ended the tunnel; its log says why",
    OTHER_ADDRESS: lambda facts: (
        f"a device of this identity comes from {facts['theirs']}, and the customer gateway has {facts['ours']}; "
        "make a customer gateway with the address that it comes from"
    ),
    NO_DAEMON: lambda facts: f"the edge's IKE daemon does not run: {facts['reason']}",
    RESTARTED: lambda _: (
        "the edge's IKE daemon was restarted; packets go on as agreed before until the device begins the tunnel again"
    ),
    NO_INBOUND: lambda facts: (
        f"packets leave, and none has come in for {facts['seconds']} s; look at routes and firewalls on the customer's side"
    ),
}
WORDS: Final = tuple(_SENTENCES)
