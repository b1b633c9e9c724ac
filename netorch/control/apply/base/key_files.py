"""Keys that a file names by the files they are in: what a plan holds of one is sealed.

Pre-shared keys of VPN connections that name no file are made. Those are shown once the plan is applied, and nobody can read them
later.
"""

from __future__ import annotations

from collections.abc import Callable

from netorch.control.base.private.sealing import seal_writes
from netorch.control.base.writes import Writes
from netorch.errors import ApiError
from netorch.model.outside.secrets import Secret
from netorch.store.base import Store

ReadFile = Callable[[str], bytes]  # of a name as a file has it; raises NetorchError


def no_files(name: str) -> bytes:
    """Refuse to read a file. Raises ApiError: OperationNotPermitted."""
    raise ApiError("OperationNotPermitted", f"key_file {name}: no file is read here; apply the file by `netorch apply -f`")


class KeyFiles:
    """Reads keys, and seals them."""

    def __init__(self, store: Store, read: ReadFile) -> None:
        self._store = store
        self._read = read

    def secret_in(self, name: str) -> Secret:
        """Return the key in a file, without the end of its line. Raises NetorchError."""
        return secret_of(self._read(name))

    def psk_in(self, name: str) -> Secret:
        """Return the pre-shared key in a file, without the end of its line. Raises NetorchError."""
        return Secret(psk=secret_of(self._read(name)).md5)

    def seal_tunnel(self, writes: Writes, edge: str, vpn_id: str, tunnel: int, secret: Secret) -> None:
        """Add the secret of a tunnel (1, 2), sealed for its edge. Raises ApiError: IncorrectState for an edge that never ran."""
        seal_writes(writes, self._store, edge, vpn_id, {tunnel: secret})

    def seal(self, writes: Writes, edge: str, resource_id: str, secret: Secret) -> None:
        """Add a key of a virtual interface, sealed for its edge. Raises ApiError: IncorrectState for an edge that never ran."""
        seal_writes(writes, self._store, edge, resource_id, {0: secret})


def secret_of(data: bytes) -> Secret:
    """Return the key that a file holds, without the end of its line."""
    return Secret(md5=data.decode(errors="replace").removesuffix("\n").removesuffix("\r"))
