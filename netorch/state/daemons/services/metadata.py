"""Instance metadata as in EC2: where instances request it, and what each one gets."""

from __future__ import annotations

from typing import ClassVar

from netorch.model.services.near import METADATA
from netorch.state.base import Key
from netorch.state.daemons.services.base import ServiceListener, ServiceObject, ServiceSocket, SocketType
from netorch.state.order import Order


class MetadataListener(ServiceListener, frozen=True, kw_only=True):
    """The address in a VRF at which instances request metadata over HTTP."""

    kind: ClassVar[str] = "metadata-listener"
    order: ClassVar[int] = Order.SERVICE_LISTENER

    @property
    def sockets(self) -> tuple[ServiceSocket, ...]:
        """Return the listening socket."""
        return (ServiceSocket(SocketType.TCP, self.ifname, METADATA, 80),)

    def text(self) -> str:
        return f"metadata dev {self.ifname} at {METADATA}"


class InstanceMetadata(ServiceObject, frozen=True, kw_only=True):
    """The metadata of one instance. A request from one of `places` is from this instance, whatever the request contains."""

    kind: ClassVar[str] = "instance-metadata"
    order: ClassVar[int] = Order.SERVICE_DATA

    id: str
    places: tuple[tuple[str, str], ...]  # the VRF and the address of each interface
    enabled: bool  # whether it gets any metadata
    needs_token: bool
    hop_limit: int  # of the answer with a token
    tree: tuple[tuple[str, str], ...]  # path -> text, sorted
    user_data: str = ""  # base64

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.id)

    def text(self) -> str:
        """Return the text without the contents, which may be secret, and without a digest, which could reveal them."""
        where = ",".join(f"{vrf}/{address}" for vrf, address in self.places)
        told = f"{len(self.tree)} texts, {len(self.user_data)} characters of user data"
        words = f"{'' if self.enabled else ' disabled'}{' tokens' if self.needs_token else ''}"
        return f"metadata {self.id} at {where} hop-limit {self.hop_limit}{words}: {told}"
