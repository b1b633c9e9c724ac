"""An agent's result for the store: the agent's own code, stopped before the kernel."""

from __future__ import annotations

from contextlib import suppress

from msgspec import structs

from netorch.agent.following.follower import Follower
from netorch.agent.moves import Moves
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.slices import Objects
from netorch.compiler.private import ike_name
from netorch.compiler.registry import load_compilers
from netorch.drivers.base import Kernel
from netorch.drivers.fake.kernel import FakeKernel
from netorch.errors import NetorchError, UnreadableRecord
from netorch.model.ids import is_id
from netorch.model.status import AgentStatus, ConnectionUse, HostMtu, VifStatus, VpnStatus
from netorch.records import keys
from netorch.records.codec import decode
from netorch.state.base import HOST_SLICE
from netorch.state.daemons.services.relay import Target
from netorch.store.base import Store


def compiled_agent(host_name: str, store: Store, kernel: Kernel, *, read_kernel: bool, vni: int | None = None) -> Reconciler:
    """Return a host's reconciler with everything compiled and nothing applied. Raises as `known_records` and `compiled`."""
    return compiled(known_records(host_name, store), kernel, read_kernel=read_kernel, vni=vni)


def known_records(host_name: str, store: Store) -> Records:
    """Return the records that a host's agent needs, as the store has them now. Raises NetorchError: the store cannot be read."""
    records = Records(host_name)
    said = _status_of(host_name, store)
    records.set_silent(frozenset(said.silent), frozenset(said.dead))
    records.set_standby(frozenset(said.standby))
    records.set_up(_up(host_name, store), invites=True)
    records.ailing = _ailing(host_name, store)
    follower = Follower(records, lambda: store, lambda: frozenset(records.prefixes))
    follower.pull(0.0)
    follower.unwatch()  # a user has 128 inotify instances; the store is the caller's
    if not follower.in_sync:
        raise NetorchError(f"host {host_name}: {follower.trouble}")
    return records


def compiled(records: Records, kernel: Kernel, *, read_kernel: bool, vni: int | None = None) -> Reconciler:
    """Return the reconciler of a host with these records, with everything compiled and nothing applied.

    Parts that a VPC leaves out are no error: the rest of the VPC is in force.

    Raises:
      NetorchError: the host is unknown, its underlay address is missing, or a VPC cannot be compiled: any of the host's, or
        only that of `vni` when it is given.
    """
    host_name = records.host_name
    reconciler = Reconciler(records, Moves(records), kernel, load_compilers())
    if read_kernel:
        reconciler.read_kernel()
    reconciler.compile(records.take_dirty(), 0.0)
    problems = [(key, text) for key, text in sorted(reconciler.problems.items()) if not reconciler.in_force(key)]
    found = [text for key, text in problems if vni is None or key in (HOST_SLICE, vni)]
    if found:
        raise NetorchError("\n".join(f"host {host_name}: {text}" for text in found))
    return reconciler


def unheard_edges(host_name: str, store: Store) -> tuple[frozenset[str], frozenset[str]]:
    """Return the VTEPs of edges that are silent, and of those that are dead, from the host agent's last report."""
    said = _status_of(host_name, store)
    return frozenset(said.silent), frozenset(said.dead)


def _status_of(host_name: str, store: Store) -> AgentStatus:
    """Return the last status report of a host's agent, or an empty one if it is missing or unreadable."""
    said = store.get(keys.agent_status(host_name))
    if said is not None:
        with suppress(UnreadableRecord):
            return decode(said, AgentStatus)
    return AgentStatus(version="", pid=0, started_at=0.0)


def _up(host_name: str, store: Store) -> frozenset[str]:
    """Return the tunnels and virtual interfaces of an edge that are up, from its agent's last report."""
    found: set[str] = set()
    for kv in store.list(keys.tunnel_status(host_name, "")).kvs:
        resource_id = kv.key.rpartition("/")[2]
        with suppress(UnreadableRecord):
            if is_id(resource_id, "vpn"):
                tunnels = decode(kv, VpnStatus).tunnels
                found |= {ike_name(resource_id, number - 1) for number, said in tunnels.items() if said.is_up}
            elif is_id(resource_id, "dxvif") and decode(kv, VifStatus).carrier:
                found.add(resource_id)
    return frozenset(found)


def _ailing(host_name: str, store: Store) -> dict[str, frozenset[Target]]:
    """Return the targets behind endpoints that do not respond to an edge, by connection, from its agent's last report."""
    found: dict[str, frozenset[Target]] = {}
    for kv in store.list(keys.connection_use(host_name, "vpce-con-")).kvs:
        with suppress(UnreadableRecord):
            said = (text.rpartition(":") for text in decode(kv, ConnectionUse).ailing)
            found[kv.key.rpartition("/")[2]] = frozenset((address, int(port)) for address, _, port in said)
    return found


def desired_objects(host_name: str, store: Store, vni: int) -> Objects:
    """Return the desired objects of a host from the store alone. The host itself, which may be remote, is not queried.

    Objects of other VPCs than `vni` that cannot be compiled are left out: no packet of the VPC gets there.

    Raises:
      NetorchError: the host is unknown, or the VPC cannot be compiled.
    """
    kernel = FakeKernel()  # only for the MTU of the underlay device, which the host has reported if it ever ran
    kernel.everywhere = structs.replace(kernel.everywhere, ifname="")  # its name is unknown here
    said = store.get(keys.host_mtu(host_name))
    if said is not None:
        with suppress(UnreadableRecord):
            kernel.everywhere = structs.replace(kernel.everywhere, mtu=decode(said, HostMtu).mtu)
    try:
        reconciler = compiled_agent(host_name, store, kernel, read_kernel=False, vni=vni)
        return {key: obj for found in reconciler.slices.values() for key, obj in found.desired.items()}
    finally:
        kernel.close()
