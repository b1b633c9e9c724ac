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
        return f"the device accepted none of this edge's {phase} proposals ({facts['ours']}); configure one of these on it"
    return (
        f"the device proposes {facts['theirs']} for {phase}, and this edge accepts {facts['ours']}; "
        "configure one that both accept"
    )


def _selectors(facts: Facts) -> str:
    if "theirs" not in facts:
        return (
            f"the device refused the traffic selectors {facts['ours']} (the VPC's side === its side); "
            "configure the same on the device, with the sides swapped"
        )
    return (
        f"the device proposes the traffic selectors {facts['theirs']} (the VPC's side === its side), "
        f"and the connection has {facts['ours']}; use the same, or 0.0.0.0/0 for both"
    )


def _certificate(what: str, facts: Facts) -> str:
    return f"the device sent a certificate of {facts['theirs']} that is not {what}: {facts['reason']}; "


# "The device" is the customer's VPN device.
_SENTENCES: Final[Mapping[str, Callable[[Facts], str]]] = {
    WAITING: lambda _: (
        "the device has sent nothing so far; initiate the tunnel on the device, or set the startup action to start"
    ),
    NO_PROPOSAL: lambda facts: _proposals("phase 1", facts),
    CHILD_NO_PROPOSAL: lambda facts: _proposals("phase 2", facts),
    INVALID_KE: lambda facts: (
        f"the device used DH group {facts['theirs']}, was asked for {facts['ours']}, and did not try again; "
        "configure that group on it"
    ),
    TS_UNACCEPTABLE: _selectors,
    WRONG_PSK: lambda _: "the device and this edge have different pre-shared keys; set the same key on both",
    WRONG_IDENTITY: lambda facts: (
        f"the device identifies itself as {facts['theirs']}, and the connection expects {facts['ours']}; "
        "change the device's identity, or give the customer gateway this one"
    ),
    WRONG_EDGE_IDENTITY: lambda facts: (
        f"the device expects the edge's identity to be {facts['theirs']}, and it is {facts['ours']}; "
        "change the remote identity on the device"
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
        f"the device speaks {facts['theirs']}, and the connection is {facts['ours']} only; configure the same version on both"
    ),
    SILENT: lambda facts: (
        f"the device at {facts['remote']} does not answer; check that UDP ports 500 and 4500 are open in both directions"
    ),
    DPD_TIMEOUT: lambda facts: (
        f"the device at {facts['remote']} stopped answering (dead peer detection); check that it runs and can be reached"
    ),
    CLOSED: lambda facts: f"the device at {facts['remote']} has ended the tunnel; its log says why",
    OTHER_ADDRESS: lambda facts: (
        f"a device with this identity connects from {facts['theirs']}, and the customer gateway has {facts['ours']}; "
        "create a customer gateway with the address that the device connects from"
    ),
    NO_DAEMON: lambda facts: f"the edge's IKE daemon is not running: {facts['reason']}",
    RESTARTED: lambda _: (
        "the edge's IKE daemon was restarted; packets continue with the old keys until the device initiates the tunnel again"
    ),
    NO_INBOUND: lambda facts: (
        f"packets leave, but none has arrived for {facts['seconds']} s; check routes and firewalls on the customer's side"
    ),
}
WORDS: Final = tuple(_SENTENCES)
