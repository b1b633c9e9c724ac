"""What instances are told, as vpc.yaml declares it. See netorch.model.cloud."""

from __future__ import annotations

import msgspec

from netorch.model.vpc import DEFAULT_OWNER, Tags


class DhcpOptionsDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An owner's DHCP options set. `owner` and `name` together say which one it is; nothing but its tags ever changes."""

    name: str
    owner: str = DEFAULT_OWNER
    domain_name: str = ""
    domain_name_servers: list[str] = []  # addresses, or `provided`: the VPC's own resolver
    ntp_servers: list[str] = []
    netbios_name_servers: list[str] = []
    netbios_node_type: int = 0  # 0: not told
    tags: Tags = {}
