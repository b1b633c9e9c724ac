"""The MTU inside a tunnel, so that the outer packet fits the path MTU."""

from __future__ import annotations

from typing import Final

from netorch.model.outside.vpn import TunnelOptions

PATH_MTU: Final = 1500  # bytes, of the internet
TCP_HEADERS: Final = 40  # bytes, IPv4 and TCP without options

_AROUND: Final = 20 + 8 + 8  # bytes: IPv4, UDP of NAT traversal (RFC 3948), SPI and sequence number of ESP (RFC 4303)
_TRAILER: Final = 2  # bytes: pad length and next header
# encryption -> bytes of (initialization vector, padding block). Sources: RFC 3602 section 2, RFC 4106 sections 3 and 8.
_ENCRYPTION: Final = {"AES128": (16, 16), "AES256": (16, 16), "AES128-GCM-16": (8, 4), "AES256-GCM-16": (8, 4)}
_GCM_TAG: Final = 16  # bytes
# integrity -> bytes of the ICV in ESP. Sources: RFC 2404, RFC 4868 section 2.6.
_INTEGRITY: Final = {"SHA1": 12, "SHA2-256": 16, "SHA2-384": 24, "SHA2-512": 32}


def inside_mtu(options: TunnelOptions, path_mtu: int = PATH_MTU) -> int:
    """Return the MTU of a tunnel in bytes. It fits every combination of its options, with and without NAT."""
    return min(
        _fitting(path_mtu, *_ENCRYPTION[encryption], tag)
        for encryption in options.phase2_encryption
        for tag in ([_GCM_TAG] if "GCM" in encryption else [_INTEGRITY[name] for name in options.phase2_integrity])
    )


def inside_mss(options: TunnelOptions, path_mtu: int = PATH_MTU) -> int:
    """Return the TCP MSS inside a tunnel in bytes."""
    return inside_mtu(options, path_mtu) - TCP_HEADERS


def _fitting(path_mtu: int, vector: int, block: int, tag: int) -> int:
    room = path_mtu - _AROUND - vector - tag
    return room - room % block - _TRAILER
