"""Names as keys: their labels in lower case, the root's last. Comparison and look-up are as fast as for strings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import dns.name
from dns.name import Name

MOST: Final = 40  # labels of an answered name; the reverse name of an IPv6 address has 34

Labels = tuple[bytes, ...]


def labels_of(name: Name | str) -> Labels:
    """Return a name's labels. Raises DNSException for an invalid text."""
    found = dns.name.from_text(name, dns.name.root) if isinstance(name, str) else name
    return tuple(label.lower() for label in found.labels)


def upward(labels: Labels) -> Iterator[Labels]:
    """Yield a name and all its parents, the root last."""
    return (labels[first:] for first in range(len(labels)))
