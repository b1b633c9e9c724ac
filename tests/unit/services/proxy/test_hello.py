"""The host name in a ClientHello of a real TLS library, and in malformed ones."""

from __future__ import annotations

import ssl

import pytest

from netorch.services.proxy.tls.hello import NoHello, server_name


def hello(name: str | None) -> bytes:
    """Return the first message of OpenSSL."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def records(raw: bytes, size: int) -> bytes:
    """Return the same handshake split into records of a size."""
    content = raw[5:]
    parts = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(raw[:3] + len(part).to_bytes(2) + part for part in parts)


@pytest.mark.parametrize("size", [80, 100, 300, 16384])
def test_the_name_is_found_however_it_comes(size: int) -> None:
    raw = records(hello("Bucket.S3.example"), size)
    assert server_name(raw) == "bucket.s3.example"
    assert [server_name(raw[:count]) for count in range(len(raw))] == [None] * len(raw)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (hello(None), "names no host"),
        (b"GET / HTTP/1.1\r\n", "not a TLS handshake"),
        (b"\x16\x02\x00\x00\x05", "not a TLS record"),
        (b"\x16\x03\x01\x00\x00", "not a TLS record"),
        (b"\x16\x03\x01\xff\xff", "not a TLS record"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "does not begin with a ClientHello"),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "cut short"),
        (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(0x3FFC), "more than"),
        (records(hello("a.example"), 4), "more than 8 records"),
        (hello("a.example").replace(b"a.example", b"\xff.example"), "ASCII"),
    ],
)
def test_what_names_no_host_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(NoHello, match=why):
        server_name(raw)


def test_a_damaged_hello_is_refused_or_read_and_nothing_else() -> None:
    raw = hello("a.example")
    for at in range(len(raw)):
        for value in (0, 1, 0x7F, 0xFF, raw[at] ^ 1):
            try:
                server_name(raw[:at] + bytes((value,)) + raw[at + 1 :])
            except NoHello:
                continue
