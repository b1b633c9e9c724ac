"""What a host does at boot before its network comes up: it brings the kernel into the state that the last snapshot says.

Fail closed: an empty kernel carries nothing, so a snapshot that is damaged, or of another version, leaves it empty. Nothing is
deleted, no edge says that it is ready, and nothing is announced: the agent does these things. It starts later and takes over what
is there.
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
    """Bring the kernel into the state of the snapshot; return why slices are not as they should be.

    Raises:
      NetorchError: there is a snapshot and it cannot be read, or the host's own part (the tables that verify and drop) cannot be
        applied. Then no VPC is.
    """
    saved = file.load()
    if saved is None:
        if not file.path.exists():
            log.info("nothing to restore: there is no snapshot path=%s", file.path)
            return {}
        raise NetorchError(f"restore: {file.path} cannot be used; nothing is restored, and the agent builds all from the store")
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
