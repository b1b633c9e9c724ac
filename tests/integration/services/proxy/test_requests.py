"""Requests that reach the upstream server byte for byte, and those that do not: forged headers, ambiguous requests."""

from __future__ import annotations

import re

import pytest

from tests.integration.services.proxy.stand import ENDPOINTS, VPCS, ProxyStand
from tests.rig.services.upstreams import Recorder
from tests.rig.world import wait_for

NEXT = b"GET /nextone/k HTTP/1.1\r\nHost: s3.amazonaws.com\r\nConnection: close\r\n\r\n"


def request(
    start: bytes = b"GET /bbb/k HTTP/1.1", *headers: bytes, body: bytes = b"", host: bytes = b"Host: s3.amazonaws.com"
) -> bytes:
    return b"\r\n".join((start, host, *headers)) + b"\r\n\r\n" + body


PUT = b"PUT /bbb/k HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"

REFUSED = {
    "both lengths": request(PUT, b"Content-Length: 3", CHUNKED, body=b"0\r\n\r\n"),
    "both lengths, the other way": request(PUT, CHUNKED, b"Content-Length: 3", body=b"0\r\n\r\n"),
    "two lengths": request(PUT, b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"),
    "the same length twice": request(PUT, b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "a list of lengths": request(PUT, b"Content-Length: 3, 3", body=b"abc"),
    "a length with a sign": request(PUT, b"Content-Length: +3", body=b"abc"),
    "a length in another notation": request(PUT, b"Content-Length: 0x3", body=b"abc"),
    "a negative length": request(PUT, b"Content-Length: -1", body=b"abc"),
    "chunked twice": request(PUT, b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two codings": request(PUT, CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "another coding": request(PUT, b"Transfer-Encoding: identity", body=b"abc"),
    "a coding before": request(PUT, b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "a coding of almost that name": request(PUT, b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "a vertical tab before the coding": request(PUT, b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "a folded header": request(b"GET /bbb/k HTTP/1.1", b"X-A: b", b" c"),
    "a folded header, by a tab": request(b"GET /bbb/k HTTP/1.1", b"X-A: b", b"\tc"),
    "a folded coding": request(PUT, b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"),
    "a space before the colon": request(b"GET /bbb/k HTTP/1.1", b"X-A : b"),
    "a header without a name": request(b"GET /bbb/k HTTP/1.1", b": b"),
    "lines that end without CR": b"GET /bbb/k HTTP/1.1\nHost: s3.amazonaws.com\n\n",
    "a line within a header": request(b"GET /bbb/k HTTP/1.1", b"X-A: b\nX-B: c"),
    "a CR within a header": request(b"GET /bbb/k HTTP/1.1", b"X-A: b\rX-B: c"),
    "a NUL within a header": request(b"GET /bbb/k HTTP/1.1", b"X-A: b\0c"),
    "a space before the first header": request(host=b" Host: s3.amazonaws.com"),
    "two hosts": request(b"GET /bbb/k HTTP/1.1", b"Host: b.s3.amazonaws.com"),
    "no host": request(host=b"X-A: b"),
    "another service's host": request(host=b"Host: example.com"),
    "a host that ends alike": request(host=b"Host: evils3.amazonaws.com"),
    "a host with the service's name inside": request(host=b"Host: s3.amazonaws.com.example"),
    "the server's own address": request(host=b"Host: 127.0.0.2"),
    "an absolute target": request(b"GET http://s3.amazonaws.com/bbb/k HTTP/1.1"),
    "an absolute target of another": request(b"GET http://example.com/bbb/k HTTP/1.1"),
    "a target that is an authority": request(b"GET s3.amazonaws.com:80 HTTP/1.1"),
    "a tunnel": request(b"CONNECT 10.0.0.1:22 HTTP/1.1"),
    "no target": request(b"OPTIONS * HTTP/1.1"),
    "a fragment": request(b"GET /bbb/k#x HTTP/1.1"),
    "a space in the target": request(b"GET /bbb/k x HTTP/1.1"),
    "a byte above ASCII in the target": request(b"GET /bbb/\xff HTTP/1.1"),
    "parts that lead up": request(b"GET /mine/../yours/k HTTP/1.1"),
    "parts that lead up, encoded": request(b"GET /mine/%2e%2e/yours/k HTTP/1.1"),
    "HTTP/1.0": request(b"GET /bbb/k HTTP/1.0"),
    "HTTP/1.0 in chunks": request(b"PUT /bbb/k HTTP/1.0", CHUNKED, body=b"0\r\n\r\n"),
    "HTTP/0.9": b"GET /bbb/k\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another protocol": request(b"GET /bbb/k HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c"),
    "an unknown method": request(b"PATCH /bbb/k HTTP/1.1"),
    "a body of a GET": request(b"GET /bbb/k HTTP/1.1", b"Content-Length: 3", body=b"abc"),
    "a chunk of no number": request(PUT, CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a negative chunk": request(PUT, CHUNKED, body=b"-1\r\nabc\r\n0\r\n\r\n"),
    "a chunk of more than there can be": request(PUT, CHUNKED, body=b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "chunks that end without CR": request(PUT, CHUNKED, body=b"3\nabc\n0\n\n"),
    "a chunk that is longer than it says": request(PUT, CHUNKED, body=b"3\r\nabcXX\r\n0\r\n\r\n"),
    "a chunk with a blank behind its size": request(PUT, CHUNKED, body=b"3 \r\nabc\r\n0\r\n\r\n"),
    "a chunk with a sign": request(PUT, CHUNKED, body=b"+3\r\nabc\r\n0\r\n\r\n"),
    "a chunk without a size": request(PUT, CHUNKED, body=b"\r\nabc\r\n0\r\n\r\n"),
    "a chunk's extension with a line in it": request(PUT, CHUNKED, body=b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    "a chunk's extension with a CR in it": request(PUT, CHUNKED, body=b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    "a chunk's extension without an end": request(PUT, CHUNKED, body=b"3;" + b"a" * 70_000),
    "a last chunk that ends without CR": request(PUT, CHUNKED, body=b"3\r\nabc\r\n0\r\n\n"),
    "a chunk behind which is a CR alone": request(PUT, CHUNKED, body=b"3\r\nabc\r0\r\n\r\n"),
    "a trailer that is none": request(PUT, CHUNKED, body=b"0\r\nGET /nextone/k HTTP/1.1\r\n\r\n"),
    "a trailer that is folded": request(PUT, CHUNKED, body=b"0\r\nx: y\r\n z\r\n\r\n"),
    "trailers without an end": request(PUT, CHUNKED, body=b"0\r\n" + b"x: y\r\n" * 20_000),
    "a length with an underscore": request(PUT, b"Content-Length: 1_0", body=b"abc"),
    "a length without a number": request(PUT, b"Content-Length:", body=b"abc"),
    "a length of more than there can be": request(PUT, b"Content-Length: 99999999999999999999", body=b"abc"),
    "empty lines before": b"\r\n\r\n" + request(),
    "headers that end without CR": request()[:-2] + b"\n",
    "CR alone for a line's end": b"GET /bbb/k HTTP/1.1\rHost: s3.amazonaws.com\r\r",
    "more of all headers than there may be": request(b"GET /bbb/k HTTP/1.1", *(b"X-%d: " % n + b"a" * 8_000 for n in range(9))),
    "a header that is too long": request(b"GET /bbb/k HTTP/1.1", b"X-A: " + b"a" * 70_000),
    "a line that is too long": request(b"GET /" + b"a" * 70_000 + b" HTTP/1.1"),
    "too many headers": request(b"GET /bbb/k HTTP/1.1", *(b"X-%d: a" % number for number in range(300))),
    "a header not in UTF-8": request(b"GET /bbb/k HTTP/1.1", b"X-A: \xff"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_what_can_mean_two_things_is_refused_and_nothing_behind_it_is_read(
    stand: ProxyStand, behind: Recorder, raw: bytes
) -> None:
    got = stand.ask(raw + NEXT)
    assert re.match(rb"HTTP/1\.[01] [45]", got), got
    assert len(re.findall(rb"HTTP/1\.[01] \d", got)) == 1
    assert not any(head.startswith(b"GET /nextone/k") for head in behind.heads)
    assert not any(head for head in behind.heads if not head.startswith(PUT)), behind.heads


def test_what_is_plain_goes_on_byte_for_byte_with_what_the_proxy_knows(stand: ProxyStand, behind: Recorder) -> None:
    lines = (
        b"PUT /bbb/k%2Fl/a%20b?partNumber=1&uploadId=a%2Bb&X-Amz-Expires=60 HTTP/1.1",
        b"Host: S3.amazonaws.com:80",
        b"Authorization: AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
        b"x-amz-content-SHA256: UNSIGNED-PAYLOAD",
        b"X-Amz-Meta-A: one",
        b"X-Amz-Meta-A: two",
        b"Content-Encoding: aws-chunked,gzip",
        b"content-length: 3",
        b"Connection: close",
    )
    assert stand.ask(b"\r\n".join(lines) + b"\r\n\r\nabc", "b").startswith(b"HTTP/1.1 200 OK\r\n")
    sent = behind.heads[-1].split(b"\r\n")
    assert sent[0] == lines[0]
    assert [line for line in lines[1:] if line not in sent] == [b"Connection: close"]  # concerns only the client's connection
    assert [line for line in sent[1:-2] if line not in lines] == [
        b"x-netorch-source-vpc: " + VPCS["b"].encode(),
        b"x-netorch-source-vpce: " + ENDPOINTS["b"].encode(),
        b"x-netorch-source-ip: 127.0.0.1",
    ]


FORGED = (
    b"x-netorch-source-vpc: vpc-other",
    b"X-Netorch-Source-Vpce: vpce-other",
    b"X_Netorch_Source_Ip: 10.9.9.9",
    b"X-Forwarded-For: 10.9.9.9",
    b"Connection: x-netorch-source-vpc, host",
)


def test_who_asks_is_what_the_socket_says_and_no_header(stand: ProxyStand, behind: Recorder) -> None:
    for letter in "ab":
        trailer = request(PUT, CHUNKED, *FORGED, body=b"1\r\nx\r\n0\r\nx-netorch-source-vpc: vpc-other\r\n\r\n")
        stand.ask(trailer + request(b"GET /bbb/k HTTP/1.1", *FORGED, b"Connection: close"), letter)
        for head in behind.heads[-2:]:
            assert head.lower().count(b"netorch") == 3
            assert VPCS[letter].encode() in head
            assert b"other" not in head
            assert b"10.9.9.9" not in head


def test_requests_behind_one_another_are_answered_in_turn(stand: ProxyStand, behind: Recorder) -> None:
    asked = [f"/bbb/{number}" for number in range(100)]
    raw = b"".join(request(f"GET {target} HTTP/1.1".encode()) for target in asked[:-1])
    got = stand.ask(raw + request(f"GET {asked[-1]} HTTP/1.1".encode(), b"Connection: close"))
    assert got.count(b"HTTP/1.1 200 OK") == 100
    assert [head.split()[1].decode() for head in behind.heads] == asked


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (request(host=b"Host: canary\xff"), "not in UTF-8"),
        (request(b"GET /bbb/k HTTP/1.1", b"Authorization: canary" + b"a" * 70_000), "not HTTP/1.1 to the letter"),
        (request(b"GET /bbb/k HTTP/1.1", b"X-A : canary"), "not HTTP/1.1 to the letter"),
    ],
    ids=["a host that is no text", "a secret that is too long", "a header that is none"],
)
def test_a_request_that_is_none_has_a_line_in_the_access_log_and_none_of_it_in_the_daemons(
    stand: ProxyStand, raw: bytes, said: str
) -> None:
    log = stand.daemon.directory / "log" / f"{ENDPOINTS['a']}.log"
    before = len(log.read_bytes().splitlines()) if log.exists() else 0
    for _ in range(50):
        assert b" 400 " in stand.ask(raw).split(b"\r\n")[0]
    lines = wait_for(lambda: [*log.read_bytes().splitlines()][before + 49 :], "fifty lines")
    assert all(said in line.decode() for line in lines)
    assert "canary" not in stand.daemon.said()
    assert "Error" not in stand.daemon.said()


def test_a_list_of_keys_that_is_too_long_is_refused_by_its_length(stand: ProxyStand, behind: Recorder) -> None:
    got = stand.ask(request(b"POST /bbb?delete HTTP/1.1", b"Content-Length: 2097153", b"Expect: 100-continue"))
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"MalformedXML" in got
    assert behind.heads == []


def test_a_list_of_keys_goes_on_as_it_came(stand: ProxyStand, behind: Recorder) -> None:
    keys = b"".join(b"<Object><Key>%d</Key></Object>" % number for number in range(1_000))
    body = b"<Delete>" + keys + b"</Delete>"
    stand.ask(request(b"POST /bbb?delete HTTP/1.1", b"Content-Length: %d" % len(body), b"Connection: close", body=body))
    assert behind.heads[-1].startswith(b"POST /bbb?delete HTTP/1.1")
    assert stand.line("a", "POST", 200).received == len(body)
