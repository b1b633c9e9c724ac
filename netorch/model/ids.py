"""Ids in EC2's form: a prefix and 17 hex digits. The first six digits are the VNI, so finding the VPC needs no index.

The caller supplies the random part (`entropy`), so the functions of this module are pure.
"""

from __future__ import annotations

from typing import Final, NewType

Vni = NewType("Vni", int)

# Smaller numbers are the kernel's own table numbers (253-255) and VLAN ids. A VNI cannot be mistaken for one of these.
VNI_FIRST: Final = 4097
VNI_LAST: Final = 0xFFFFFE
RANDOM_DIGITS: Final = 11
_HEX: Final = frozenset("0123456789abcdef")


def make_id(kind: str, vni: int, entropy: int) -> str:
    """Return e.g. `subnet-0013880a1b2c3d4e5`: six digits of VNI, eleven of `entropy` (its low 44 bits)."""
    return f"{kind}-{vni:06x}{entropy & (16**RANDOM_DIGITS - 1):0{RANDOM_DIGITS}x}"


def vni_of(resource_id: str) -> int:
    """Return the VNI inside a valid id."""
    return int(resource_id[-17:-11], 16)


def prefix_of(resource_id: str) -> str:
    """Return the prefix of an id, e.g. `vpce-svc`; empty if the text has no dash."""
    return resource_id.rpartition("-")[0]


def is_id(text: str, kind: str = "") -> bool:
    """Return whether `text` has the form of an id, of kind `kind` if given."""
    head, dash, digits = text.rpartition("-")
    if not dash or len(digits) != 17 or (head != kind if kind else not _is_kind(head)):
        return False
    return _HEX.issuperset(digits)


def _is_kind(head: str) -> bool:
    """Return whether `head` can be the prefix of an id: words of lower-case letters, e.g. vpce-svc."""
    return all(word.isascii() and word.isalpha() and word.islower() for word in head.split("-"))


def port_name(eni_id: str) -> str:
    """Return the name of an ENI's device on the host: `v-`, the VNI, seven random digits; 15 characters, IFNAMSIZ - 1."""
    digits = eni_id[-17:]
    return f"v-{digits[:13]}"
