"""What an agent would do now, computed by its own code, without doing it."""

from netorch.agent.follow import Follower
from netorch.agent.moves import Moves
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.compiler.registry import load_compilers
from netorch.errors import NetorchError
from netorch.model import keys
from netorch.state.op import Op
from netorch.store.base import Store


def pending_operations(host_name: str, store: Store) -> list[Op]:
    """Return the operations that would make this host's kernel what it should be.

    Raises:
      NetorchError: the host is unknown, its underlay address is missing, or one of its VPCs cannot be compiled.
    """
    from netorch.drivers.linux import LinuxKernel

    records = Records(host_name)
    moves = Moves(records)

    def prefixes() -> set[str]:
        vpcs = {prefix for vni in records.carried() for prefix in (keys.vpc_prefix(vni), keys.map_prefix(vni))}
        return {keys.host_prefix(host_name), *vpcs}

    follower = Follower(records, lambda: store, prefixes)
    follower.pull(0.0)
    if not follower.in_sync:
        raise NetorchError(f"drift: {follower.trouble}")
    kernel = LinuxKernel(host_name)
    try:
        reconciler = Reconciler(records, moves, kernel, load_compilers())
        reconciler.read_kernel()
        reconciler.compile(records.take_dirty(), 0.0)
        if reconciler.problems:
            raise NetorchError("\n".join(f"drift: {problem}" for problem in reconciler.problems.values()))
        return reconciler.pending()
    finally:
        kernel.close()
