"""Names as keys: their labels in lower case, the root's last. They are compared and looked up as fast as strings are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import dns.name
from dns.name import Name

MOST: Final = 40  # labels of a name that is answered; the reverse of an IPv6 address has 34

Labels = tuple[bytes, ...]


def labels_of(name: Name | str) -> Labels:
    """Return a name's labels. Raises DNSException for text that is none."""
    found = dns.name.from_text(name, dns.name.root) if isinstance(name, str) else name
    return tuple(label.lower() for label in found.labels)


def upward(labels: Labels) -> Iterator[Labels]:
    """Yield a name and all those above it, the root last."""
    return (labels[first:] for first in range(len(labels)))
