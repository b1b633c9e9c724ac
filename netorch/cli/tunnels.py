"""Command-line options for the tunnels of VPN connections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from netorch.model.outside import vpn_rules
from netorch.model.outside.vpn import DpdAction, StartupAction, TunnelOptions

_SEVERAL: Final = {  # field -> option, choices, help
    "ike_versions": ("--ike-version", vpn_rules.IKE_VERSIONS, "IKE versions."),
    "phase1_encryption": ("--phase1-encryption", vpn_rules.ENCRYPTION, "Ciphers of IKE."),
    "phase1_integrity": ("--phase1-integrity", vpn_rules.INTEGRITY, "Hashes of IKE."),
    "phase1_dh_groups": ("--phase1-dh-group", vpn_rules.PHASE1_DH_GROUPS, "Diffie-Hellman groups of IKE."),
    "phase2_encryption": ("--phase2-encryption", vpn_rules.ENCRYPTION, "Ciphers of packets."),
    "phase2_integrity": ("--phase2-integrity", vpn_rules.INTEGRITY, "Hashes of packets."),
    "phase2_dh_groups": ("--phase2-dh-group", vpn_rules.PHASE2_DH_GROUPS, "Diffie-Hellman groups of packets."),
}
_NUMBERS: Final = {
    "phase1_lifetime": ("--phase1-lifetime", "Lifetime of the IKE SA in seconds, 900 to 28800."),
    "phase2_lifetime": ("--phase2-lifetime", "Lifetime of the ESP SAs in seconds, 900 to 3600, shorter than phase 1's."),
    "rekey_margin": ("--rekey-margin", "Seconds before a lifetime ends at which rekeying starts, 60 to half of phase 2's."),
    "rekey_fuzz": ("--rekey-fuzz", "Percent by which the rekey margin is randomized, 0 to 100."),
    "replay_window": ("--replay-window", "Anti-replay window in packets, 64 to 2048."),
    "dpd_timeout": ("--dpd-timeout", "Seconds without an answer until the peer counts as dead, at least 3."),
}
_WORDS: Final = {
    "dpd_action": ("--dpd-action", DpdAction, "What to do when the peer is found dead."),
    "startup_action": (
        "--startup-action",
        StartupAction,
        "add: wait for the customer's side to initiate; start: initiate as well.",
    ),
}


def tunnel_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each of EC2's tunnel options. The command gets them under the names of the fields."""
    for field, (word, help_text) in reversed(_NUMBERS.items()):
        function = click.option(word, field, type=int, help=help_text)(function)
    for field, (word, kind, help_text) in reversed(_WORDS.items()):
        function = click.option(word, field, type=click.Choice([one.value for one in kind]), help=help_text)(function)
    for field, (word, known, help_text) in reversed(_SEVERAL.items()):
        choice = click.Choice([str(one) for one in known])
        function = click.option(word, field, type=choice, multiple=True, help=f"{help_text} Repeatable.")(function)
    return function


def changed_options(before: TunnelOptions, chosen: dict[str, Any]) -> TunnelOptions:
    """Return options with the chosen ones changed."""
    changed: dict[str, Any] = {}
    for field, value in chosen.items():
        if value is None or value == ():
            continue
        if field in _WORDS:
            changed[field] = _WORDS[field][1](value)
        elif field.endswith("dh_groups"):
            changed[field] = tuple(int(one) for one in value)
        else:
            changed[field] = value
    return msgspec.structs.replace(before, **changed)


def file_option(word: str, name: str, help_text: str, **settings: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's own
    """Return an option for a text file, or several."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option(word, name, type=path, help=help_text, metavar="FILE", **settings)


def text_of(path: Path) -> str:
    """Return the contents of a file. An error text contains none of them."""
    try:
        return path.read_text().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise click.BadParameter(f"{path}: cannot be read: {why}") from None


def key_of(path: Path) -> str:
    """Return the pre-shared key in a file of one line."""
    return text_of(path).removesuffix("\n")
