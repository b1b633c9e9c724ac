"""Keys in files that a declaration names: a plan holds only sealed keys.

For VPN connections without a key file, pre-shared keys are generated. They are shown after the plan is applied, and cannot be
read later.
"""

from __future__ import annotations

from collections.abc import Callable

from netorch.control.base.private.sealing import seal_writes
from netorch.control.base.writes import Writes
from netorch.errors import ApiError
from netorch.model.outside.secrets import Secret
from netorch.store.base import Store

ReadFile = Callable[[str], bytes]  # file name in the declaration -> content; raises NetorchError


def no_files(name: str) -> bytes:
    """Refuse to read a file. Raises ApiError: OperationNotPermitted."""
    raise ApiError(
        "OperationNotPermitted", f"key_file {name}: key files are not read here; apply the file with `netorch apply -f`"
    )


class KeyFiles:
    """Reads keys and seals them."""

    def __init__(self, store: Store, read: ReadFile) -> None:
        self._store = store
        self._read = read

    def secret_in(self, name: str) -> Secret:
        """Return the key in a file, without a trailing newline. Raises NetorchError."""
        return secret_of(self._read(name))

    def psk_in(self, name: str) -> Secret:
        """Return the pre-shared key in a file, without a trailing newline. Raises NetorchError."""
        return Secret(psk=secret_of(self._read(name)).md5)

    def seal_tunnel(self, writes: Writes, edge: str, vpn_id: str, tunnel: int, secret: Secret) -> None:
        """Add a tunnel's (1, 2) secret, sealed for its edge. Raises ApiError: IncorrectState if the edge's agent never ran."""
        seal_writes(writes, self._store, edge, vpn_id, {tunnel: secret})

    def seal(self, writes: Writes, edge: str, resource_id: str, secret: Secret) -> None:
        """Add a virtual interface's key, sealed for its edge. Raises ApiError: IncorrectState if the edge's agent never ran."""
        seal_writes(writes, self._store, edge, resource_id, {0: secret})


def secret_of(data: bytes) -> Secret:
    """Return the key in a file's content, without a trailing newline."""
    return Secret(md5=data.decode(errors="replace").removesuffix("\n").removesuffix("\r"))
