"""The consistency check of the keys by which hypervisors accept new instances.

alloc/accepts/<digits>/<host>          a hypervisor that is not drained
alloc/accepts/<digits>/<host>/full     it seems full: a hint, which is not checked
alloc/accepts/<digits>/<host>/drained  it seems drained: a hint, too
host/<host>/drained                    a drained host
"""

from __future__ import annotations

from collections.abc import Iterator

from netorch.errors import UnreadableRecord
from netorch.model.eni import Role
from netorch.records import keys
from netorch.records.inventory import Inventory


def wrong_accepting(inventory: Inventory) -> Iterator[UnreadableRecord]:
    """Yield the keys that do not agree with the readable hosts. Cost: O(hosts)."""
    for name, state in sorted(inventory.hosts.items()):
        fit = state.host.role is Role.HYPERVISOR and not state.drained
        if fit and not state.accepts:
            yield UnreadableRecord(
                keys.accepts(name), f"is missing, so {name} gets no instances; `netorch host undrain {name}` writes it"
            )
        elif state.accepts and not fit:
            yield UnreadableRecord(
                keys.accepts(name), f"is there, and {name} is drained or an edge; `netorch host drain {name}` removes it"
            )
    held = (key for key in inventory.raw if key.startswith(keys.accepting()))
    for key in sorted(held):
        name, *is_hint = key.split("/")[3:]
        if not is_hint and name not in inventory.hosts and name not in inventory.isolated_hosts:
            yield UnreadableRecord(key, f"is there, and host {name} is not")
