"""The addresses that instances' own names lead to: one interface's change costs its own addresses only."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from netorch.model.eni import NetworkInterface, primary_eni_id


class NamedAddresses:
    """Which instance each primary address belongs to, by VPC."""

    def __init__(self) -> None:
        self._of: dict[int, dict[str, str]] = {}  # VNI -> address -> the instance's id

    def of(self, vni: int) -> Mapping[str, str]:
        """Return the instances of a VPC by address, as a view that changes."""
        return self._of.setdefault(vni, {})

    def update(self, vni: int, before: NetworkInterface | None, after: NetworkInterface | None) -> Collection[str]:
        """Take in an interface; return the addresses whose names have changed."""
        old, new = _named(before), _named(after)
        changed = {address for address, _ in old.items() ^ new.items()}
        known = self._of.setdefault(vni, {})
        for address in changed:
            known.pop(address, None)
            if address in new:
                known[address] = new[address]
        return changed

    def forget(self, vni: int) -> None:
        """Forget a VPC."""
        self._of.pop(vni, None)


def _named(eni: NetworkInterface | None) -> dict[str, str]:
    if eni is None or not eni.instance or eni.id != primary_eni_id(eni.instance):
        return {}
    return {address: eni.instance for address in (eni.address, eni.ipv6_address) if address}
