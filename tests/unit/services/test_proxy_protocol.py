"""The PROXY header, byte for byte."""

from __future__ import annotations

from netorch.services.proxy_protocol import header


def test_the_header_names_both_ends_and_the_endpoint() -> None:
    expected = (
        b"\r\n\r\n\0\r\nQUIT\n"
        + bytes((0x21, 0x11))
        + (12 + 3 + 1 + 22).to_bytes(2)
        + bytes((10, 0, 1, 5, 198, 19, 0, 10))
        + (40000).to_bytes(2)
        + (443).to_bytes(2)
        + bytes((0xEA, 0, 23, 1))
        + b"vpce-0013880000000000a"
    )
    assert header(("10.0.1.5", 40000), ("198.19.0.10", 443), "vpce-0013880000000000a") == expected
