"""What a host holds of the mapping service, in its agent and in its kernel, against what the store has for it.

An agent is not asked: it may hang, and what it holds is in its snapshot, which it writes within a second after a change. The
kernel is compared as in `netorch drift`: with the objects that the agent's own code compiles from the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.snapshot import Snapshot, SnapshotFile
from netorch.diagnose.desired import compiled, known_records
from netorch.diagnose.host.drift import kernel_here
from netorch.errors import NetorchError
from netorch.model.addr import BITS, parse_prefix
from netorch.model.services.zones import VpcZone
from netorch.model.vpc import Vpc
from netorch.plan.explain import op_text
from netorch.records import keys
from netorch.records.kinds import mapped
from netorch.state.base import KernelObject, Key
from netorch.state.l2 import Fdb
from netorch.state.l3 import Neighbour, Route
from netorch.state.op import Create, Delete, Op
from netorch.store.base import Store

PAUSE_S: Final = 0.2  # between two comparisons
STATES: Final = ("missing", "stale", "foreign")

Raw = Mapping[str, tuple[int, bytes]]  # key -> (mod_revision, value)


class Difference(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A mapping that a host holds otherwise than the store."""

    where: Literal["agent", "kernel"]
    vpc: str  # owner/name, if the host knows it
    vni: int
    address: str  # as in `netorch map list`; of a foreign kernel object what it leads to
    state: str  # missing: not there; stale: an earlier one is there; foreign: the store has none for this host
    found: str  # the generations, or the operations that would repair the kernel


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """What a host holds."""

    host: str
    running: bool  # whether its agent holds its lease
    revision: int  # up to which the agent had followed the store when it wrote its snapshot
    vpcs: int  # of the mappings
    mappings: int  # that the store has for this host
    differences: tuple[Difference, ...]


def read_cache(host_name: str, store: Store, snapshot: SnapshotFile, patience_s: float) -> Cache:
    """Compare a host with the store, again for `patience_s` while they differ: a change may be under way.

    Raises:
      NetorchError: the host is unknown or elsewhere, its agent has left no snapshot, or a VPC cannot be compiled.
    """
    command = f"netorch map cache {host_name}"
    end = time.monotonic() + patience_s
    with kernel_here(host_name, store, command) as kernel:
        while True:
            held = _held(host_name, snapshot)
            records = known_records(host_name, store)
            reconciler = compiled(records, kernel, read_kernel=True)
            running = store.get(keys.host_live(host_name)) is not None
            cache = compare(records, reconciler, held, running=running)
            if not cache.differences or time.monotonic() > end:
                return cache
            time.sleep(PAUSE_S)


def _held(host_name: str, file: SnapshotFile) -> Snapshot:
    """Return an agent's snapshot. Raises NetorchError."""
    where, fix = f"host {host_name}: the snapshot of its agent, {file.path}", "name the agent's directory with --state-dir"
    try:
        file.path.stat()
    except OSError as error:
        raise NetorchError(f"{where}: {error.strerror}; start the agent, or {fix}") from error
    found = file.load()
    if found is None:
        raise NetorchError(f"{where}: cannot be read, or is damaged; the agent writes it with its next change")
    return found


def compare(records: Records, reconciler: Reconciler, held: Snapshot, *, running: bool) -> Cache:
    """Compare what the store has for a host, compiled with its kernel's objects, with what its agent holds."""
    wanted = _mappings(records.raw)
    paths = {vni: f"{vpc.owner}/{vpc.name}" for vni, found in records.vpcs.items() for vpc in found.each(Vpc)}
    differences = [*_of_agent(wanted, _mappings(held.records), paths), *_of_kernel(reconciler, paths)]
    return Cache(
        host=records.host_name,
        running=running,
        revision=held.revision,
        vpcs=len({key.split("/")[1] for key in wanted}),
        mappings=len(wanted),
        differences=tuple(sorted(differences)),
    )


def _mappings(raw: Raw) -> dict[str, int]:
    """Return the generations of mappings by key."""
    found = {key: revision for key, (revision, _) in raw.items() if key.startswith("map/")}
    return {key: revision for key, revision in found.items() if mapped(key.split("/", 2)[2]) is not VpcZone}


def _of_agent(wanted: Mapping[str, int], held: Mapping[str, int], paths: Mapping[int, str]) -> Iterator[Difference]:
    for key in wanted.keys() | held.keys():
        here, there = held.get(key), wanted.get(key)
        if here == there:
            continue
        _, digits, name = key.split("/", 2)
        state = "missing" if here is None else "foreign" if there is None else "stale"
        found = f"generation {_number(here)} here, {_number(there)} in the store"
        vni = int(digits, 16)
        yield Difference(where="agent", vpc=paths.get(vni, ""), vni=vni, address=_shown(name), state=state, found=found)


def _shown(name: str) -> str:
    """Return the address of a mapping's key after the VNI; of a reached prefix's the gateway and the edge."""
    return name.removeprefix(keys.PUBLIC).removeprefix(keys.REACH)


def _number(generation: int | None) -> str:
    return str(generation) if generation is not None else "none"


def _of_kernel(reconciler: Reconciler, paths: Mapping[int, str]) -> Iterator[Difference]:
    """Yield the mappings whose objects the kernel lacks or has otherwise, and the objects of no mapping."""
    wanted: dict[Key, set[tuple[int, str]]] = {}
    for slice_id, target in reconciler.slices.items():
        for key, names in target.wanted_by().items():
            wanted.setdefault(key, set()).update(_place(slice_id, name) for name in names)
    differing: dict[tuple[int, str, bool], list[Op]] = {}
    for op in reconciler.pending():
        key = op.obj.key
        is_foreign = isinstance(op, Delete) and not any(key in target.desired for target in reconciler.slices.values())
        for vni, address in wanted.get(key) or _led_to(op.obj):
            differing.setdefault((vni, address, is_foreign), []).append(op)
    for (vni, address, is_foreign), ops in differing.items():
        state = "foreign" if is_foreign else "missing" if all(isinstance(op, Create) for op in ops) else "stale"
        found = "; ".join(map(op_text, ops))
        yield Difference(where="kernel", vpc=paths.get(vni, ""), vni=vni, address=address, state=state, found=found)
    for text in reconciler.foreign():
        yield Difference(where="kernel", vpc="", vni=0, address="", state="foreign", found=f"{text}: not netorch's")


def _place(vni: int, name: str) -> tuple[int, str]:
    """Return the VNI and the address of a mapping that a VPC's slice names."""
    peer, _, address = name.rpartition("/")
    return int(peer, 16) if peer else vni, address


def _led_to(obj: KernelObject) -> Iterator[tuple[int, str]]:
    """Yield the VNI and the address that an object leads to, for objects of the kinds that mappings become."""
    match obj:
        case Route(vni=vni, dst=dst) if parse_prefix(dst).length == BITS[parse_prefix(dst).version]:
            yield vni, dst.partition("/")[0]
        case Neighbour(vni=vni, dst=dst) | Fdb(vni=vni, dst=dst):
            yield vni, dst
        case _:
            pass
