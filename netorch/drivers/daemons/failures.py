"""What is reported of an operation that a daemon, or its driver, could not carry out."""

from __future__ import annotations

import errno

from netorch.drivers.daemons.connection import DaemonError
from netorch.errors import KernelError
from netorch.state.op import Failure, Op, describe


def failure(op: Op, error: DaemonError | KernelError | OSError) -> Failure:
    """Return the failure of an operation. An OSError without a number is Python's own, of a value that it does not take."""
    if isinstance(error, KernelError):
        return Failure(op, error)
    number = error.number if isinstance(error, DaemonError) else error.errno or errno.EINVAL
    return Failure(op, KernelError(describe(op), number, str(error)))
