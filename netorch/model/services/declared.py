"""DHCP options, metadata options and user data as vpc.yaml declares them. See netorch.model.cloud."""

from __future__ import annotations

import base64
import binascii
from enum import Enum

import msgspec

from netorch.model.services.metadata import MetadataOptions
from netorch.model.vpc import DEFAULT_OWNER, Tags


class DhcpOptionsDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An owner's DHCP options set. `owner` and `name` together identify it. Only its tags can change."""

    name: str
    owner: str = DEFAULT_OWNER
    domain_name: str = ""
    domain_name_servers: list[str] = []  # addresses, or `provided`: the VPC's own resolver
    ntp_servers: list[str] = []
    netbios_name_servers: list[str] = []
    netbios_node_type: int = 0  # 0: not sent
    tags: Tags = {}


class Switch(Enum):
    """EC2's values for on and off."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class Tokens(Enum):
    """EC2's values for whether an instance needs a token to read its metadata."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class MetadataOptionsDecl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The metadata options of an instance, with EC2's names, values and defaults."""

    http_endpoint: Switch = Switch.ENABLED
    http_tokens: Tokens = Tokens.REQUIRED
    http_put_response_hop_limit: int = 1
    instance_metadata_tags: Switch = Switch.DISABLED


def metadata_options(decl: MetadataOptionsDecl | msgspec.UnsetType) -> MetadataOptions:
    """Return declared metadata options in their stored form."""
    if isinstance(decl, msgspec.UnsetType):
        return MetadataOptions()
    return MetadataOptions(
        http_endpoint=decl.http_endpoint is Switch.ENABLED,
        http_tokens=decl.http_tokens is Tokens.REQUIRED,
        http_put_response_hop_limit=decl.http_put_response_hop_limit,
        instance_metadata_tags=decl.instance_metadata_tags is Switch.ENABLED,
    )


def declared_options(options: MetadataOptions) -> MetadataOptionsDecl | msgspec.UnsetType:
    """Return the declaration of stored metadata options, or UNSET for the defaults."""
    if options == MetadataOptions():
        return msgspec.UNSET
    return MetadataOptionsDecl(
        http_endpoint=Switch.ENABLED if options.http_endpoint else Switch.DISABLED,
        http_tokens=Tokens.REQUIRED if options.http_tokens else Tokens.OPTIONAL,
        http_put_response_hop_limit=options.http_put_response_hop_limit,
        instance_metadata_tags=Switch.ENABLED if options.instance_metadata_tags else Switch.DISABLED,
    )


def user_data(text: str, encoded: str) -> str:
    """Return declared user data in base64: encoded `text`, or normalized `encoded`. Invalid base64 is returned unchanged."""
    if text:
        return base64.b64encode(text.encode(errors="surrogatepass")).decode()
    try:
        return base64.b64encode(base64.b64decode(encoded, validate=True)).decode()
    except (binascii.Error, ValueError):
        return encoded


def declared_user_data(stored: str) -> dict[str, str]:
    """Return the declaration field for stored user data: `user_data` if they are text, else `user_data_base64`; {} for none."""
    if not stored:
        return {}
    try:
        text = base64.b64decode(stored).decode()
    except UnicodeDecodeError:
        return {"user_data_base64": stored}
    is_plain = all(char.isprintable() or char in "\n\t" for char in text)
    return {"user_data": text} if is_plain else {"user_data_base64": stored}
