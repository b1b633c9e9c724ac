"""Failures of operations that a daemon or its driver could not apply."""

from __future__ import annotations

import errno

from netorch.drivers.daemons.connection import DaemonError
from netorch.errors import KernelError
from netorch.state.op import Failure, Op, describe


def failure(op: Op, error: DaemonError | KernelError | OSError) -> Failure:
    """Return an operation's failure. An OSError without errno is raised by Python itself for an invalid value."""
    if isinstance(error, KernelError):
        return Failure(op, error)
    number = error.number if isinstance(error, DaemonError) else error.errno or errno.EINVAL
    return Failure(op, KernelError(describe(op), number, str(error)))
