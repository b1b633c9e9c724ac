"""IKE connections of an edge: the configuration of charon, strongSwan's daemon in the outside namespace.

The driver treats charon like a kernel (netorch.drivers.charon). charon has the SAs, which come and go by themselves and
are no objects.
"""

from __future__ import annotations

from typing import ClassVar

from netorch.state.base import OUTSIDE, KernelObject, Key
from netorch.state.order import Order


class IkeConnection(KernelObject, frozen=True, kw_only=True):
    """A tunnel in charon's configuration: one IKE_SA and one CHILD_SA. Times are in seconds.

    Proposals are in strongSwan's syntax (swanctl.conf(5)): aes256gcm16-prfsha256-ecp256. `secret` is the pre-shared key
    or, with a `certificate`, its private key, sealed for this host. It is never shown, and only the driver decrypts it.
    """

    kind: ClassVar[str] = "ike"
    in_place: ClassVar[bool] = True
    order: ClassVar[int] = Order.IKE_CONNECTION

    netns: str = OUTSIDE
    name: str  # the id of the VPN connection, a dash, 1 or 2
    version: int  # 1, 2, or 0 for both
    local: str  # IPv4
    remote: str  # IPv4, empty: any
    local_identity: str
    remote_identity: str  # empty: any that the authority has signed
    proposals: tuple[str, ...]
    child_proposals: tuple[str, ...]
    local_traffic: str  # CIDR
    remote_traffic: str
    if_id: int
    lifetime: int
    child_lifetime: int
    rekey_margin: int
    rekey_fuzz: int  # percent
    replay_window: int  # packets
    dpd_delay: int
    dpd_action: str  # clear, none, restart
    initiates: bool
    secret: str  # base64
    certificate: str = ""  # PEM; empty: a pre-shared key
    authority: str = ""  # PEM

    @property
    def key(self) -> Key:
        return (self.kind, self.netns, self.name)

    def text(self) -> str:
        by = "certificate" if self.certificate else "psk"
        ends = f"local {self.local} [{self.local_identity}] remote {self.remote or 'any'} [{self.remote_identity or 'any'}]"
        traffic = f"traffic {self.local_traffic} {self.remote_traffic} if_id {self.if_id:#x}"
        return f"ike {self.name} v{self.version or '1+2'} {ends} {by} {traffic} proposals {','.join(self.proposals)}"
