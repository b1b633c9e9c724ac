"""Restore a host at boot before its network comes up: bring the kernel into the state of the last snapshot.

Fail closed: an empty kernel carries nothing, so a damaged snapshot, or one of another version, leaves the kernel empty.
Restoring deletes nothing, reports no edge as ready and announces nothing: the agent does this. The agent starts later and takes
over the restored objects.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from netorch.agent.moves import Moves
from netorch.agent.reconcile import Reconciler
from netorch.agent.records import Records
from netorch.agent.snapshot import SnapshotFile
from netorch.compiler.base import Compiler
from netorch.drivers.base import Kernel
from netorch.errors import NetorchError

log = logging.getLogger(__name__)


def restore(host_name: str, kernel: Kernel, file: SnapshotFile, compilers: Sequence[Compiler]) -> dict[int, str]:
    """Bring the kernel into the state of the snapshot; return why slices are degraded.

    Raises:
      NetorchError: the snapshot exists but is unreadable, or the host's own slice (the tables that verify and drop) cannot be
        applied. Then no VPC is applied.
    """
    saved = file.load()
    if saved is None:
        if not file.path.exists():
            log.info("nothing to restore: no snapshot path=%s", file.path)
            return {}
        raise NetorchError(
            f"restore: {file.path} is unusable; nothing is restored, and the agent builds everything from the store"
        )
    records = Records(host_name)
    reconciler = Reconciler(records, Moves(records), kernel, compilers)
    reconciler.assumed = saved.underlay
    reconciler.read_kernel()
    for key, (modified, value) in saved.records.items():
        records.put(key, value, modified)
    records.dirty.host = True
    reconciler.compile(records.take_dirty(), now=0.0)
    reconciler.apply(now=0.0, may_delete=False)
    if reconciler.host_trouble:
        raise NetorchError(f"restore: no VPC is restored: {reconciler.host_trouble}")
    log.info("restored revision=%d objects=%d", saved.revision, reconciler.object_count())
    return reconciler.problems
