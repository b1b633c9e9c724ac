"""What instances are told, as vpc.yaml declares it. See netorch.model.cloud."""

from __future__ import annotations

import base64
import binascii
from enum import Enum

import msgspec

from netorch.model.services.metadata import MetadataOptions
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


class Switch(Enum):
    """EC2's words for on and off."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class Tokens(Enum):
    """EC2's words for whether an instance needs a token to read its metadata."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class MetadataOptionsDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an instance may ask for its metadata. EC2's names, values and defaults."""

    http_endpoint: Switch = Switch.ENABLED
    http_tokens: Tokens = Tokens.REQUIRED
    http_put_response_hop_limit: int = 1
    instance_metadata_tags: Switch = Switch.DISABLED


def metadata_options(decl: MetadataOptionsDecl | msgspec.UnsetType) -> MetadataOptions:
    """Return declared options of metadata as they are stored."""
    if isinstance(decl, msgspec.UnsetType):
        return MetadataOptions()
    return MetadataOptions(
        http_endpoint=decl.http_endpoint is Switch.ENABLED,
        http_tokens=decl.http_tokens is Tokens.REQUIRED,
        http_put_response_hop_limit=decl.http_put_response_hop_limit,
        instance_metadata_tags=decl.instance_metadata_tags is Switch.ENABLED,
    )


def declared_options(options: MetadataOptions) -> MetadataOptionsDecl | msgspec.UnsetType:
    """Return the declaration of stored options of metadata; none for the defaults."""
    if options == MetadataOptions():
        return msgspec.UNSET
    return MetadataOptionsDecl(
        http_endpoint=Switch.ENABLED if options.http_endpoint else Switch.DISABLED,
        http_tokens=Tokens.REQUIRED if options.http_tokens else Tokens.OPTIONAL,
        http_put_response_hop_limit=options.http_put_response_hop_limit,
        instance_metadata_tags=Switch.ENABLED if options.instance_metadata_tags else Switch.DISABLED,
    )


def user_data(text: str, encoded: str) -> str:
    """Return declared user data as they are stored: a text, or what is base64 already. What is no base64 stays as it is."""
    if text:
        return base64.b64encode(text.encode(errors="surrogatepass")).decode()
    try:
        return base64.b64encode(base64.b64decode(encoded, validate=True)).decode()
    except (binascii.Error, ValueError):
        return encoded


def declared_user_data(stored: str) -> dict[str, str]:
    """Return the field of an instance's declaration that has its user data: as text, if they are one; none without any."""
    if not stored:
        return {}
    try:
        text = base64.b64decode(stored).decode()
    except UnicodeDecodeError:
        return {"user_data_base64": stored}
    is_plain = all(char.isprintable() or char in "\n\t" for char in text)
    return {"user_data": text} if is_plain else {"user_data_base64": stored}
