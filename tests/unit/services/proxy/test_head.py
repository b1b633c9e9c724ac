"""The forwarded part of a request's head, and refused heads."""

from __future__ import annotations

import pytest

from netorch.services.proxy.head import Head, Refusal, read_head

HOST = ("Host", "s3.example")


def head(method: str = "GET", target: str = "/b/k", *headers: tuple[str, str], host: tuple[str, str] = HOST) -> Head:
    return read_head(method, target, [(name.encode(), value.encode()) for name, value in (host, *headers)])


def status(method: str = "GET", target: str = "/b/k", *headers: tuple[str, str], host: tuple[str, str] = HOST) -> int:
    try:
        head(method, target, *headers, host=host)
    except Refusal as refusal:
        return refusal.status
    return 0


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/b",
        "//b//k/",
        "/b/a%20b/c%2Bd%25",
        "/b/k?list-type=2&prefix=a%2Fb&delimiter=/",
        "/b/k?X-Amz-Credential=A/20260101/us-east-1/s3/aws4_request&x=1?2",
        "/b/a..b/.c/...",
        "/b/!$&'()*+,;=:@",
    ],
)
def test_a_target_goes_on_byte_for_byte(target: str) -> None:
    assert head("GET", target).target == target


@pytest.mark.parametrize(
    "target",
    [
        "http://s3.example/b/k",
        "s3.example:80",
        "*",
        "",
        "b/k",
        "/b/k#x",
        "/b/k?a#x",
        "/b/a b",
        "/b/\xe9",
        "/b/%",
        "/b/%2",
        "/b/%zz",
        "/b/k?%zz",
        "/b\\k",
        "/b/\x00",
        "/b/%00",
        "/b/..",
        "/b/../c",
        "/b/./k",
        "/b/%2e%2E/c",
        "/b/.%2e/c",
        "/b/..%2fc",
        "/b/%2e%2e%5Cc",
        "/b/..%5cc",
    ],
)
def test_a_target_that_servers_could_read_in_several_ways_is_refused(target: str) -> None:
    assert status("GET", target) == 400


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("s3.example", "s3.example", None), ("B.S3.Example:8080", "b.s3.example", 8080), ("198.19.0.1:80", "198.19.0.1", 80)],
)
def test_a_host_is_read_and_goes_on_as_it_is(text: str, host: str, port: int | None) -> None:
    found = head(host=("Host", text))
    assert (found.host, found.port, found.values("host")) == (host, port, (text,))


@pytest.mark.parametrize(
    "text", ["", "a b", "a/b", "a@b", "a,b", "a:", "a:0", "a:65536", "a:x", "[::1]", "a.", "a_b", "a\tb", "é"]
)
def test_a_host_that_is_none_is_refused(text: str) -> None:
    assert status(host=("Host", text)) == 400


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "PATCH", "get", "PROPFIND", "X"])
def test_methods_that_s3_has_not_are_refused(method: str) -> None:
    assert status(method) == 405


@pytest.mark.parametrize(
    "headers",
    [
        [("Host", "other")],
        [("Content-Length", "1"), ("Content-Length", "1")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        [("Authorization", "a"), ("authorization", "b")],
        [("x-amz-copy-source", "/a/k"), ("X-Amz-Copy-Source", "/b/k")],
        [("Upgrade", "h2c"), ("Connection", "upgrade")],
    ],
)
def test_what_may_be_there_once_is_refused_twice(headers: list[tuple[str, str]]) -> None:
    assert status("PUT", "/b/k", *headers) == 400


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", [("Content-Length", "3")], 400),
        ("HEAD", [("Transfer-Encoding", "chunked")], 400),
        ("DELETE", [("Content-Length", "3")], 400),
        ("DELETE", [("Content-Length", "0")], 0),
        ("PUT", [("Transfer-Encoding", "gzip, chunked")], 501),
        ("PUT", [("Transfer-Encoding", "Chunked")], 0),
        ("PUT", [("Expect", "200-ok")], 417),
        ("PUT", [("Expect", "100-Continue")], 0),
    ],
)
def test_bodies_are_where_s3_has_them(method: str, headers: list[tuple[str, str]], expected: int) -> None:
    assert status(method, "/b/k", *headers) == expected


@pytest.mark.parametrize(
    "name",
    [
        "x-netorch-source-vpc",
        "X-Netorch-Source-Vpce",
        "X_Netorch_Source_Ip",
        "x-netorch-anything",
        "X-Forwarded-Host",
        "X-Forwarded-For",
        "Forwarded",
        "X-Original-URL",
        "X-HTTP-Method-Override",
        "Content_Length",
        "Transfer_Encoding",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "TE",
        "Trailer",
    ],
)
def test_headers_in_which_servers_believe_go_no_further(name: str) -> None:
    assert head("PUT", "/b/k", (name, "vpc-other")).headers == (HOST,)


def test_what_connection_names_goes_no_further_but_for_what_a_request_needs() -> None:
    names = "close, X-Amz-Acl, host, authorization"
    found = head("PUT", "/b/k", ("Connection", names), ("x-amz-acl", "private"), ("Authorization", "AWS4"), ("Close", "y"))
    assert found.headers == (HOST, ("Authorization", "AWS4"))


def test_all_other_headers_go_on_as_they_are() -> None:
    headers = (("x-amz-META-a", "ü, b"), ("Content-MD5", "x=="), ("X-Amz-Meta-a", "twice"), ("Content-Encoding", "aws-chunked"))
    assert head("PUT", "/b/k", *headers).headers == (HOST, *headers)
    with pytest.raises(Refusal, match="UTF-8"):
        read_head("GET", "/b/k", [(b"Host", b"a"), (b"x", b"\xff")])
