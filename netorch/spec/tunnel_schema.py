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
    "phase2_encryption": _several("Ciphers of packets.", vpn_rules.ENCRYPTION),
    "phase2_integrity": _several("Hashes of packets.", vpn_rules.INTEGRITY),
    "phase2_dh_groups": _several("Diffie-Hellman groups of packets.", vpn_rules.PHASE2_DH_GROUPS),
    "phase2_lifetime": _number("Seconds, less than phase1_lifetime.", *vpn_rules.PHASE2_LIFETIME),
    "rekey_margin": _number(
        "Seconds before the end of a lifetime, at most half of phase2_lifetime.",
        vpn_rules.REKEY_MARGIN_LEAST,
        vpn_rules.PHASE2_LIFETIME[1] // 2,
    ),
    "rekey_fuzz": _number("Percent by which the margin varies.", *vpn_rules.REKEY_FUZZ),
    "replay_window": _number("Packets.", *vpn_rules.REPLAY_WINDOW),
    "dpd_timeout": _number("Seconds without an answer after which the other end is dead.", *vpn_rules.DPD_TIMEOUT),
    "dpd_action": {"description": "What becomes of a tunnel whose other end is dead."},
    "startup_action": {"description": "add: the customer's side begins; start: both do."},
}
