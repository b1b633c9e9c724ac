"""The kernel's SAs and policies of tunnels, by hand-packed XFRM netlink.

charon creates them, and a killed charon leaves them behind. A new charon does not know them, so this module finds and deletes
them by if_id, which identifies their connection. Source: linux/xfrm.h, net/xfrm/xfrm_user.c of the kernel.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Iterable
from contextlib import closing
from typing import Final

import msgspec

from netorch.drivers.netlink import Channel, Message, attr_u32, attrs, u32
from netorch.errors import KernelError

_NETLINK_XFRM: Final = 6
_NEW_SA, _DELETE_SA, _GET_SA, _DELETE_POLICY, _GET_POLICY = 0x10, 0x11, 0x12, 0x14, 0x15
_SA: Final = struct.Struct("=56x 16s 4s B 135x H 10x")  # struct xfrm_usersa_info
_SA_ID: Final = struct.Struct("=16s 4s H B x")  # struct xfrm_usersa_id
_POLICY: Final = struct.Struct("=56s 100x I B 7x")  # struct xfrm_userpolicy_info
_POLICY_ID: Final = struct.Struct("=56s I B 3x")  # struct xfrm_userpolicy_id
_IF_ID: Final = 31
_ALGORITHMS: Final = frozenset({1, 2, 18, 20})  # XFRMA_ALG_AUTH, _CRYPT, _AEAD, _AUTH_TRUNC
_GONE: Final = frozenset({errno.ESRCH, errno.ENOENT})


class KernelSa(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel SA, for one direction."""

    if_id: int
    spi: int
    destination: bytes
    family: int
    protocol: int


class Xfrm:
    """The SAs and policies of one namespace. Each call opens its own socket: calls are rare."""

    def __init__(self, fd: int) -> None:
        """Take a descriptor of the namespace, which must stay open."""
        self._fd = fd

    def sas(self) -> list[KernelSa]:
        """Return the complete SAs of tunnels: one still in negotiation has no algorithms. Raises KernelError."""
        try:
            with closing(Channel(self._fd, _NETLINK_XFRM)) as channel:
                return [sa for _, _, body in channel.dump(_GET_SA, b"") if (sa := _sa(body)) is not None]
        except OSError as error:
            raise KernelError("read the kernel's SAs", error.errno or 0, str(error)) from error

    def delete(self, sas: Iterable[KernelSa]) -> None:
        """Delete SAs; absence is fine. Raises KernelError."""
        self._send(
            [(_DELETE_SA, 0, _SA_ID.pack(sa.destination, sa.spi.to_bytes(4, "big"), sa.family, sa.protocol)) for sa in sas]
        )

    def purge(self, if_ids: Collection[int]) -> None:
        """Delete all SAs and policies of some tunnels. Raises KernelError."""
        self.delete(sa for sa in self.sas() if sa.if_id in if_ids)
        try:
            with closing(Channel(self._fd, _NETLINK_XFRM)) as channel:
                policies = [body for _, _, body in channel.dump(_GET_POLICY, b"") if _if_id(body, _POLICY.size) in if_ids]
        except OSError as error:
            raise KernelError("read the kernel's IPsec policies", error.errno or 0, str(error)) from error
        self._send([_deletion(body) for body in policies])

    def _send(self, messages: list[Message]) -> None:
        if not messages:
            return
        try:
            with closing(Channel(self._fd, _NETLINK_XFRM)) as channel:
                refused = channel.batch(messages)
        except OSError as error:
            raise KernelError("delete SAs from the kernel", error.errno or 0, str(error)) from error
        for found in refused.values():
            if found.errno not in _GONE:
                raise KernelError("delete SAs from the kernel", found.errno, found.detail)


def _sa(body: bytes) -> KernelSa | None:
    found = attrs(body, _SA.size)
    if _IF_ID not in found or found.keys().isdisjoint(_ALGORITHMS):
        return None
    destination, spi, protocol, family = _SA.unpack_from(body)
    return KernelSa(
        if_id=u32(found[_IF_ID]),
        spi=int.from_bytes(spi, "big"),
        destination=destination,
        family=family,
        protocol=protocol,
    )


def _deletion(body: bytes) -> Message:
    selector, index, direction = _POLICY.unpack_from(body)
    return _DELETE_POLICY, 0, _POLICY_ID.pack(selector, index, direction) + attr_u32(_IF_ID, _if_id(body, _POLICY.size))


def _if_id(body: bytes, offset: int) -> int:
    found = attrs(body, offset).get(_IF_ID)
    return u32(found) if found is not None else 0
