"""Which targets of endpoint services a round checks. There may be millions: each connection gets its share of a round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netorch.compiler.interface_endpoint import BACK
from netorch.drivers.base import Knock
from netorch.state.daemons.services.relay import RELAY_ADDRESS


class Checked(NamedTuple):
    """The targets of a connection, and the TCP ports of each."""

    targets: tuple[str, ...]
    ports: tuple[int, ...]

    def holds(self, knock: Knock) -> bool:
        """Return whether a knock is at one of them."""
        return knock.port in self.ports and knock.address in self.targets


def shares(sizes: Mapping[str, int], most: int) -> dict[str, int]:
    """Return how many items of each connection fit into `most`: the large ones share what the small ones leave, each has one."""
    found, left = {}, most
    for place, (name, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        found[name] = min(size, max(1, left // (len(sizes) - place)))
        left -= found[name]
    return found


class Portions:
    """Where each connection continues in the next round."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def take(self, known: Mapping[str, Checked], most: int) -> Iterator[Knock]:
        """Yield about `most` knocks, at all targets in turn. Cost: O(connections + knocks), however many targets they have."""
        sizes = {name: len(each.targets) * len(each.ports) for name, each in known.items()}
        first, self._next = self._next, {}
        for name, share in shares({name: size for name, size in sizes.items() if size}, most).items():
            start, (targets, ports) = first.get(name, 0), known[name]
            for place in range(start, start + share):
                port, target = divmod(place % sizes[name], len(targets))
                yield Knock(name, RELAY_ADDRESS, BACK, targets[target], ports[port])
            self._next[name] = (start + share) % sizes[name]
