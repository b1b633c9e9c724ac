"""What an agent would do now, computed by its own code, without doing it."""

from netorch.diagnose.desired import compiled_agent
from netorch.state.op import Op
from netorch.store.base import Store


def pending_operations(host_name: str, store: Store) -> list[Op]:
    """Return the operations that would make this host's kernel what it should be.

    Raises:
      NetorchError: the host is unknown, its underlay address is missing, or one of its VPCs cannot be compiled.
    """
    from netorch.drivers.linux import LinuxKernel

    kernel = LinuxKernel(host_name)
    try:
        return compiled_agent(host_name, store, kernel, read_kernel=True).pending()
    finally:
        kernel.close()
