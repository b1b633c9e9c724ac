"""The JSON Schema of VPN tunnels: EC2's options and their permitted values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from netorch.model.outside import vpn_rules

_Schema = dict[str, Any]
_BYTE: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

INSIDE: Final[_Schema] = {
    "description": "A /30 of 169.254.0.0/16; any free one when left out.",
    "pattern": rf"^169\.254\.{_BYTE}\.{_BYTE}/30$",
}


def _several(what: str, known: Iterable[str | int]) -> _Schema:
    choice = list(known)
    kind = "integer" if isinstance(choice[0], int) else "string"
    return {"description": what, "items": {"type": kind, "enum": choice}, "minItems": 1, "uniqueItems": True}


def _number(what: str, least: int, most: int) -> _Schema:
    return {"description": what, "minimum": least, "maximum": most}


OPTIONS: Final[dict[str, _Schema]] = {
    "ike_versions": _several("IKE versions.", vpn_rules.IKE_VERSIONS),
    "phase1_encryption": _several("Ciphers of IKE.", vpn_rules.ENCRYPTION),
    "phase1_integrity": _several("Hashes of IKE.", vpn_rules.INTEGRITY),
    "phase1_dh_groups": _several("Diffie-Hellman groups of IKE.", vpn_rules.PHASE1_DH_GROUPS),
    "phase1_lifetime": _number("Seconds.", *vpn_rules.PHASE1_LIFETIME),
    "phase2_encryption": _several("Ciphers of ESP.", vpn_rules.ENCRYPTION),
    "phase2_integrity": _several("Hashes of ESP.", vpn_rules.INTEGRITY),
    "phase2_dh_groups": _several("Diffie-Hellman groups of ESP.", vpn_rules.PHASE2_DH_GROUPS),
    "phase2_lifetime": _number("Seconds, less than phase1_lifetime.", *vpn_rules.PHASE2_LIFETIME),
    "rekey_margin": _number(
        "Seconds before a lifetime ends at which rekeying starts, at most half of phase2_lifetime.",
        vpn_rules.REKEY_MARGIN_LEAST,
        vpn_rules.PHASE2_LIFETIME[1] // 2,
    ),
    "rekey_fuzz": _number("Percent by which the rekey margin is randomized.", *vpn_rules.REKEY_FUZZ),
    "replay_window": _number("Packets.", *vpn_rules.REPLAY_WINDOW),
    "dpd_timeout": _number("Seconds without an answer until the peer is considered dead.", *vpn_rules.DPD_TIMEOUT),
    "dpd_action": {"description": "What to do when the peer is found dead."},
    "startup_action": {"description": "add: wait for the customer's side to initiate; start: initiate as well."},
}
