"""The parser of AWS's text for strongSwan. It reads the connection and skips the instructions for people.

The ids are at the top. Each tunnel has a section `conn Tunnel1` of ipsec.conf(5), a line of ipsec.secrets(5), and a command that
sets the inside addresses. AWS offers this text for static routes.
"""

from __future__ import annotations

import re
from typing import Final

from netorch.errors import Problem, SpecError
from netorch.model import rules
from netorch.model.addr import parse_prefix
from netorch.model.outside import vpn_rules
from netorch.model.outside.proposals import GROUPS, INTEGRITY, PLAIN
from netorch.model.outside.vpn import TUNNELS, DpdAction, StartupAction, TunnelOptions, inside_addresses
from netorch.model.rules import Violation, shown
from netorch.spec.vpn_config.imported import ImportedConnection, ImportedTunnel, read_gateway_configuration
from netorch.spec.vpn_config.xml_tree import MAX_BYTES, problem

_TAKE: Final = "use the file exactly as AWS provides it, for strongSwan"
_ID: Final = re.compile(r"Your (VPN Connection|Virtual Private Gateway|Transit Gateway|Customer Gateway) ID\s*:\s*(\S+)")
_SECTION: Final = re.compile(r"conn Tunnel([12])\s*")
_SETTING: Final = re.compile(r"\s+([a-z]+)=(\S+)\s*")
_SECRET: Final = re.compile(r'\s*(\S+) (\S+) : PSK "([^"]*)"\s*')
_INSIDE: Final = re.compile(r"\s*(?:sudo )?ip addr add (\S+)/30 remote (\S+)/30 dev Tunnel([12])\s*")
_TIME: Final = re.compile(r"([1-9][0-9]{0,5})([smh]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}
_VERSIONS: Final = {"ikev1": ("ikev1",), "ikev2": ("ikev2",), "ike": ("ikev1", "ikev2")}
_WANTED: Final = ("leftid", "right", "keyexchange", "ike", "ikelifetime", "esp", "lifetime", "dpdtimeout")


def read_strongswan_text(source: str, data: bytes) -> tuple[ImportedConnection, dict[int, str]]:
    """Return the connection of a text, and its pre-shared keys by tunnel (1, 2). `source` is the file's name.

    Raises:
      SpecError: the text has another format or is invalid; carries every problem, and no part of a key.
    """
    if len(data) > MAX_BYTES:
        raise problem(source, "", f"the file is larger than {MAX_BYTES >> 10} KiB", _TAKE)
    text = _Text(data.decode(errors="replace"))
    tunnels = tuple(text.tunnel(number) for number in range(1, TUNNELS + 1))
    keys = {number: text.key(number) for number in range(1, TUNNELS + 1)}
    ours = {text.setting(number, "leftid") for number in range(1, TUNNELS + 1)}
    if len(ours) > 1:
        text.note(
            "conn Tunnel2: leftid", "it differs from the first tunnel's", "both tunnels must have the same customer gateway"
        )
    if text.problems:
        raise SpecError(source, text.problems)
    gateway = text.ids.get("Virtual Private Gateway", text.ids.get("Transit Gateway", ""))
    connection = ImportedConnection(
        id=text.ids.get("VPN Connection", ""),
        customer_gateway=text.ids.get("Customer Gateway", ""),
        gateway=gateway,
        address=ours.pop(),
        static=True,
        tunnels=tunnels,
    )
    return connection, keys


class _Text:
    """The settings in the lines of a text, and their problems."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self.ids: dict[str, str] = dict(_ID.findall(text))
        self._settings: dict[int, dict[str, tuple[str, int]]] = {}  # tunnel -> name -> value, line
        self._inside: dict[int, tuple[str, str]] = {}  # tunnel -> the customer's address, AWS's
        self._secrets: dict[tuple[str, str], str] = {}  # both ends -> key
        section = 0
        for number, line in enumerate(text.splitlines(), 1):
            if found := _SECTION.fullmatch(line):
                section = int(found[1])
            elif section and (found := _SETTING.fullmatch(line)):
                self._settings.setdefault(section, {}).setdefault(found[1], (found[2], number))
            elif found := _INSIDE.fullmatch(line):
                self._inside[int(found[3])] = found[1], found[2]
            elif found := _SECRET.fullmatch(line):
                self._secrets[found[1], found[2]] = found[3]
            elif not line.lstrip().startswith("#"):
                section = 0

    def setting(self, tunnel: int, name: str) -> str:
        """Return a setting of a tunnel, or an empty text."""
        return self._settings.get(tunnel, {}).get(name, ("", 0))[0]

    def tunnel(self, number: int) -> ImportedTunnel:
        """Return a tunnel, with empty values in place of invalid ones."""
        missing = [name for name in _WANTED if not self.setting(number, name)]
        if missing:
            self.note(f"conn Tunnel{number}", f"it has no {', '.join(missing)}", _TAKE)
            return ImportedTunnel(address="", inside_cidr="", options=TunnelOptions())
        for name in ("leftid", "right"):
            violation = vpn_rules.customer_address(self.setting(number, name))
            if violation is not None:
                self._wrong(number, name, violation)
        return ImportedTunnel(
            address=self.setting(number, "right"), inside_cidr=self._network(number), options=self._options(number)
        )

    def key(self, number: int) -> str:
        """Return the pre-shared key of a tunnel, or an empty text."""
        ends = self.setting(number, "leftid"), self.setting(number, "right")
        key = self._secrets.get(ends, "")
        violation = vpn_rules.psk(key)
        if violation is not None and all(ends):
            self.note(
                f"ipsec.secrets: {' '.join(ends)}",
                violation.what if key else "there is no key for these two addresses",
                violation.fix,
            )
        return key

    def note(self, path: str, what: str, fix: str, line: int = 0) -> None:
        self.problems.append(Problem(path=path, what=what, fix=fix, line=line))

    def _network(self, number: int) -> str:
        ours, theirs = self._inside.get(number, ("", ""))
        if isinstance(rules.address(theirs, 4), Violation):
            self.note(f"Tunnel{number}", "no command sets its inside addresses", _TAKE)
            return ""
        network = str(parse_prefix(f"{theirs}/{vpn_rules.INSIDE_LENGTH}", strict=False))
        if isinstance(vpn_rules.inside_cidr(network), Violation) or inside_addresses(network) != (theirs, ours):
            what = f"the inside addresses are {shown(theirs)} at AWS and {shown(ours)} here"
            self.note(f"Tunnel{number}", what, "they must be the first and the second one of a /30 of 169.254.0.0/16")
        return network

    def _options(self, number: int) -> TunnelOptions:
        cipher, integrity, group = self._words(number, "ike")
        child_cipher, child_integrity, child_group = self._words(number, "esp")
        versions = _VERSIONS.get(self.setting(number, "keyexchange"))
        if versions is None:
            self._wrong(number, "keyexchange", Violation("it is not known", f"write one of {', '.join(_VERSIONS)}"))
        options = TunnelOptions(
            ike_versions=versions or ("ikev2",),
            phase1_encryption=(cipher,),
            phase1_integrity=(integrity,),
            phase1_dh_groups=(group,),
            phase1_lifetime=self._seconds(number, "ikelifetime"),
            phase2_encryption=(child_cipher,),
            phase2_integrity=(child_integrity,),
            phase2_dh_groups=(child_group,),
            phase2_lifetime=self._seconds(number, "lifetime"),
            dpd_timeout=self._seconds(number, "dpdtimeout"),
            dpd_action=DpdAction.RESTART,
            startup_action=StartupAction.START,  # AWS waits for its customer
        )
        if not self.problems:  # the single values are valid
            for field, violation in vpn_rules.options(options):
                self.note(f"conn Tunnel{number}", f"{field}: {violation.what}", violation.fix)
        return options

    def _words(self, number: int, name: str) -> tuple[str, str, int]:
        """Return the encryption, integrity and group of a proposal."""
        words = self.setting(number, name).split("-")
        known = ({word: key for key, word in PLAIN.items()}, {word: key for key, word in INTEGRITY.items()})
        groups = {word: key for key, word in GROUPS.items()}
        if len(words) == 3 and words[0] in known[0] and words[1] in known[1] and words[2] in groups:
            return known[0][words[0]], known[1][words[1]], groups[words[2]]
        self._wrong(number, name, Violation("it is not a proposal of AWS", "write e.g. aes128-sha1-modp1024"))
        return "AES128", "SHA1", 2

    def _seconds(self, number: int, name: str) -> int:
        found = _TIME.fullmatch(self.setting(number, name))
        if found is None:
            self._wrong(number, name, Violation("it is not a time", "write e.g. 8h, or 30s"))
            return 1
        return int(found[1]) * _SECONDS[found[2]]

    def _wrong(self, number: int, name: str, violation: Violation) -> None:
        value, line = self._settings[number][name]
        self.note(f"conn Tunnel{number}: {name}={value}", violation.what, violation.fix, line)


def read_configuration(source: str, data: bytes) -> tuple[ImportedConnection, dict[int, str]]:
    """Return the connection of an AWS file of either format, and its pre-shared keys by tunnel (1, 2). Raises SpecError."""
    is_xml = data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    return read_gateway_configuration(source, data) if is_xml else read_strongswan_text(source, data)
