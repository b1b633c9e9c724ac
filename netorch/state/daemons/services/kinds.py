"""The table of all kinds of objects of netorch's own daemon. Both sides decode packets with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from netorch.state.daemons.services.base import ServiceObject
from netorch.state.daemons.services.dhcp import DhcpEar, DhcpLease
from netorch.state.daemons.services.metadata import InstanceMetadata, MetadataListener
from netorch.state.daemons.services.names import NameListener, NameRecord, NameView, NameZone
from netorch.state.daemons.services.proxy import ProxyBucket, ProxyEndpoint, ProxyListener
from netorch.state.daemons.services.relay import RelayListener, RelayTargets

_ALL: Final[tuple[type[ServiceObject], ...]] = (
    NameListener,
    NameView,
    NameZone,
    NameRecord,
    DhcpEar,
    DhcpLease,
    MetadataListener,
    InstanceMetadata,
    ProxyListener,
    ProxyEndpoint,
    ProxyBucket,
    RelayListener,
    RelayTargets,
)
KINDS: Final[Mapping[str, type[ServiceObject]]] = {cls.kind: cls for cls in _ALL}
