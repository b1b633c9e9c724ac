"""The commands for DHCP options sets and private zones."""

from __future__ import annotations

ACTIONS = {
    "zone create": "new.example --vpc acme/acme",
    "zone associate": "globex/spare.example globex/third",
    "zone disassociate": "globex/spare.example globex/bare",
    "zone record put": "acme/corp.example db A 10.44.12.9",
    "zone record delete": "acme/corp.example www CNAME",
    "zone delete": "globex/spare.example",
    "zone set-tags": "acme/corp.example env=prod",
    "zone tag": "acme/corp.example env=prod",
    "zone untag": "acme/corp.example colour",
    "dhcp-options create": "new --domain-name corp.example",
    "dhcp-options associate": "globex/spare-options globex/third",
    "dhcp-options delete": "globex/spare-options",
    "dhcp-options set-tags": "acme/corp env=prod",
    "dhcp-options tag": "acme/corp env=prod",
    "dhcp-options untag": "acme/corp colour",
}
READERS = {
    **{f"{kind} list": "" for kind in ("dhcp-options", "zone")},
    "dhcp-options show": "acme/corp",
    "zone show": "acme/corp.example",
    "zone record list": "acme/corp.example",
}
TAGGED = {
    "dhcp-options": "acme/corp",
    "zone": "acme/corp.example",
}
SETUP = (
    "--owner acme dhcp-options create corp --domain-name corp.example --domain-name-servers 192.0.2.53",
    "--owner globex dhcp-options create spare-options --domain-name-servers AmazonProvidedDNS",
    "dhcp-options associate acme/corp acme/acme",
    "zone create corp.example --vpc acme/acme",
    "zone record put acme/corp.example www CNAME db.corp.example",
    "zone create spare.example --vpc globex/gated",
    "zone associate globex/spare.example globex/bare",
)
