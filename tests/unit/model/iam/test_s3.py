"""The permissions that S3 requests need, and requests refused because two servers may parse them differently."""

from __future__ import annotations

import pytest

from netorch.model.addr import parse_prefix
from netorch.model.iam.actions import ACTIONS
from netorch.model.iam.conditions import ConditionKey
from netorch.model.iam.s3.operations import COMMON, OPERATIONS, operation_of
from netorch.model.iam.s3.refusal import Refusal
from netorch.model.iam.s3.request import Asked, S3Request, read_request
from netorch.model.iam.s3.uri import Service

SERVICE = Service(names=("s3.internal", "s3"), prefixes=(parse_prefix("198.19.0.0/24"),))
NESTED = Service(names=("s3.internal", "eu.s3.internal"))


def ask(line: str, *headers: tuple[str, str], host: str = "s3.internal", service: Service = SERVICE) -> Asked | Refusal:
    method, _, target = line.partition(" ")
    return read_request(service, S3Request(method=method, target=target, headers=[("Host", host), *headers]))


def needs(line: str, *headers: tuple[str, str], host: str = "s3.internal") -> list[str]:
    """Return the needed permissions as `GetObject b/k`."""
    found = ask(line, *headers, host=host)
    assert isinstance(found, Asked), found
    return [f"{need.action.removeprefix('s3:')} {need.resource.removeprefix('arn:aws:s3:::')}" for need in found.needs]


SIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=ab"
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /", ["ListAllMyBuckets *"]),
        ("GET /?x-id=ListBuckets&max-buckets=10", ["ListAllMyBuckets *"]),
        ("PUT /buc", ["CreateBucket buc"]),
        ("PUT /buc/", ["CreateBucket buc"]),
        ("DELETE /buc", ["DeleteBucket buc"]),
        ("HEAD /buc", ["ListBucket buc"]),
        ("GET /buc", ["ListBucket buc"]),
        ("GET /buc/?list-type=2&prefix=a%2Fb&delimiter=%2F&max-keys=5&encoding-type=url", ["ListBucket buc"]),
        ("GET /buc?prefix=a&marker=b", ["ListBucket buc"]),
        ("GET /buc?versions&prefix=a", ["ListBucketVersions buc"]),
        ("GET /buc?uploads=", ["ListBucketMultipartUploads buc"]),
        ("GET /buc?location", ["GetBucketLocation buc"]),
        ("GET /buc?acl", ["GetBucketAcl buc"]),
        ("PUT /buc?acl", ["PutBucketAcl buc"]),
        ("PUT /buc?policy", ["PutBucketPolicy buc"]),
        ("DELETE /buc?policy", ["DeleteBucketPolicy buc"]),
        ("DELETE /buc?lifecycle", ["PutLifecycleConfiguration buc"]),
        ("GET /buc?versioning", ["GetBucketVersioning buc"]),
        ("DELETE /buc?tagging", ["PutBucketTagging buc"]),
        ("GET /buc?inventory", ["GetInventoryConfiguration buc"]),
        ("DELETE /buc?inventory&id=7", ["PutInventoryConfiguration buc"]),
        ("GET /buc/k", ["GetObject buc/k"]),
        ("HEAD /buc/k", ["GetObject buc/k"]),
        ("GET /buc/a/b/", ["GetObject buc/a/b/"]),
        ("GET /buc/a%20b%2Bc%C3%A9", ["GetObject buc/a b+cé"]),
        ("GET /buc/a%2Fb", ["GetObject buc/a/b"]),
        ("GET /buc/100%25", ["GetObject buc/100%"]),
        ("GET /buc/.../x..y", ["GetObject buc/.../x..y"]),
        (f"GET /buc/k?{SIGNED}", ["GetObject buc/k"]),
        ("GET /buc/k?AWSAccessKeyId=A&Signature=x%2B%3D&Expires=1", ["GetObject buc/k"]),
        ("GET /buc/k?response-content-type=text%2Fplain&partNumber=1", ["GetObject buc/k"]),
        ("GET /buc/k?versionId=null", ["GetObjectVersion buc/k"]),
        ("GET /buc/k?attributes&versionId=7", ["GetObjectVersion buc/k", "GetObjectVersionAttributes buc/k"]),
        ("GET /buc/k?acl", ["GetObjectAcl buc/k"]),
        ("PUT /buc/k?acl&versionId=7", ["PutObjectVersionAcl buc/k"]),
        ("DELETE /buc/k?tagging", ["DeleteObjectTagging buc/k"]),
        ("PUT /buc/k", ["PutObject buc/k"]),
        ("DELETE /buc/k", ["DeleteObject buc/k"]),
        ("DELETE /buc/k?versionId=7", ["DeleteObjectVersion buc/k"]),
        ("POST /buc/k?uploads", ["PutObject buc/k"]),
        ("PUT /buc/k?partNumber=1&uploadId=u", ["PutObject buc/k"]),
        ("POST /buc/k?uploadId=u", ["PutObject buc/k"]),
        ("DELETE /buc/k?uploadId=u", ["AbortMultipartUpload buc/k"]),
        ("GET /buc/k?uploadId=u&max-parts=5", ["ListMultipartUploadParts buc/k"]),
        ("POST /buc/k?select&select-type=2", ["GetObject buc/k"]),
        ("POST /buc/k?restore", ["RestoreObject buc/k"]),
    ],
)
def test_operations(line: str, expected: list[str]) -> None:
    assert needs(line) == expected
    if "/buc" in line:  # the same with the bucket in the host name
        method, _, target = line.partition(" ")
        virtual = target.replace("/buc", "", 1)
        assert needs(f"{method} {virtual if virtual.startswith('/') else f'/{virtual}'}", host="buc.s3.internal:80") == expected


@pytest.mark.parametrize(
    ("line", "headers", "expected"),
    [
        ("PUT /buc/k", [("x-amz-copy-source", "/src/a/b%20c")], ["PutObject buc/k", "GetObject src/a/b c"]),
        ("PUT /buc/k", [("X-Amz-Copy-Source", "src/a?versionId=7.x_y")], ["PutObject buc/k", "GetObjectVersion src/a"]),
        ("PUT /buc/k?partNumber=1&uploadId=u", [("x-amz-copy-source", "src/a")], ["PutObject buc/k", "GetObject src/a"]),
        ("PUT /buc/k", [("x-amz-acl", "private"), ("x-amz-grant-read", "x")], ["PutObject buc/k", "PutObjectAcl buc/k"]),
        ("POST /buc/k?uploads", [("x-amz-tagging", "a=b")], ["PutObject buc/k", "PutObjectTagging buc/k"]),
        ("PUT /buc/k", [("x-amz-object-lock-mode", "GOVERNANCE")], ["PutObject buc/k", "PutObjectRetention buc/k"]),
        ("PUT /buc/k", [("x-amz-object-lock-legal-hold", "ON")], ["PutObject buc/k", "PutObjectLegalHold buc/k"]),
        ("PUT /buc", [("x-amz-acl", "public-read")], ["CreateBucket buc", "PutBucketAcl buc"]),
        ("PUT /buc", [("x-amz-object-ownership", "x")], ["CreateBucket buc", "PutBucketOwnershipControls buc"]),
        (
            "DELETE /buc/k?versionId=7",
            [("x-amz-bypass-governance-retention", "true")],
            ["DeleteObjectVersion buc/k", "BypassGovernanceRetention buc/k"],
        ),
        ("GET /buc/k", [("x-amz-acl", "private")], ["GetObject buc/k"]),
        ("GET /buc/k", [("Range", "bytes=0-1"), ("Authorization", "AWS4-HMAC-SHA256 ...")], ["GetObject buc/k"]),
    ],
)
def test_headers_that_need_more(line: str, headers: list[tuple[str, str]], expected: list[str]) -> None:
    assert needs(line, *headers) == expected


@pytest.mark.parametrize("host", ["s3.internal", "S3.Internal:80", "s3", "198.19.0.7", "198.19.0.7:80"])
def test_names_of_the_service(host: str) -> None:
    assert needs("GET /buc/k", host=host) == ["GetObject buc/k"]


@pytest.mark.parametrize("bucket", ["buc", "my.buc-1", "a.b.c"])
def test_buckets_in_the_name_of_the_host(bucket: str) -> None:
    assert needs("GET /k/x", host=f"{bucket}.s3.internal") == [f"GetObject {bucket}/k/x"]
    assert needs("GET /", host=f"{bucket}.s3.internal") == [f"ListBucket {bucket}"]


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "other",
            "s3.internal.",
            ".s3.internal",
            "x..s3.internal",
            "BUC.s3.internal",
            "buc.s3.internal.other",
            "-b.s3.internal",
        ),
        *(
            "198.19.1.7",
            "[::1]",
            "10.0.0.1.s3.internal",
            "s3.internal:",
            "s3.internal:80:80",
            "a@s3.internal",
            "buc.s3.internal/x",
        ),
        *("s3.internal#", "s3.internal, other", "bu%63.s3.internal", "bs3.internal", "buc.198.19.0.7"),
    ],
)
def test_hosts_that_are_no_names_of_the_service(host: str) -> None:
    assert isinstance(ask("GET /buc/k", host=host), Refusal)


def test_a_host_that_may_be_read_in_two_ways() -> None:
    assert isinstance(ask("GET /buc/k", host="buc.eu.s3.internal", service=NESTED), Refusal)
    assert isinstance(ask("GET /buc/k", host="eu.s3.internal", service=NESTED), Refusal)
    assert isinstance(ask("GET /buc/k", host="other.s3.internal", service=NESTED), Asked)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("http://s3.internal/buc/k", "InvalidURI"),
        ("//buc/k", "InvalidURI"),
        ("*", "InvalidURI"),
        ("", "InvalidURI"),
        ("buc/k", "InvalidURI"),
        ("/buc//k", "InvalidURI"),
        ("/buc/a//k", "InvalidURI"),
        ("/buc/a%2F%2Fk", "InvalidURI"),
        ("/buc/%2Fk", "InvalidURI"),
        ("/buc/k//", "InvalidURI"),
        ("/buc/../other/k", "InvalidURI"),
        ("/buc/a/%2e%2e/k", "InvalidURI"),
        ("/buc/a%2F..%2Fk", "InvalidURI"),
        ("/buc/.", "InvalidURI"),
        ("/buc/./k", "InvalidURI"),
        ("/../buc/k", "InvalidBucketName"),
        ("/./k", "InvalidBucketName"),
        ("/%62uc/k", "InvalidBucketName"),
        ("/buc%2Fk", "InvalidBucketName"),
        ("/buc%00/k", "InvalidBucketName"),
        ("/BUC/k", "InvalidBucketName"),
        ("/bu/k", "InvalidBucketName"),
        ("/192.168.0.1/k", "InvalidBucketName"),
        ("/buc:80/k", "InvalidBucketName"),
        ("/buc/%", "InvalidURI"),
        ("/buc/%4", "InvalidURI"),
        ("/buc/%zz", "InvalidURI"),
        ("/buc/%ff", "InvalidURI"),
        ("/buc/%c0%af", "InvalidURI"),
        ("/buc/%ed%a0%80", "InvalidURI"),
        ("/buc/%2573ecret", "InvalidURI"),
        ("/buc/a%00b", "InvalidURI"),
        ("/buc/a%0d%0ab", "InvalidURI"),
        ("/buc/a+b", "InvalidURI"),
        ("/buc/a;b", "InvalidURI"),
        ("/buc/a\\b", "InvalidURI"),
        ("/buc/a#b", "InvalidURI"),
        ("/buc/a b", "InvalidURI"),
        ("/buc/é", "InvalidURI"),
        ("/buc/" + "a" * 1025, "KeyTooLongError"),
        ("/buc/" + "%C3%A9" * 513, "KeyTooLongError"),
        ("/buc/k?acl&acl", "InvalidArgument"),
        ("/buc/k?versionId=1&versionId=2", "InvalidArgument"),
        ("/buc/k?%61cl", "InvalidURI"),
        ("/buc/k?acl;tagging", "InvalidURI"),
        ("/buc/k?acl#x", "InvalidURI"),
        ("/buc/k?&", "InvalidURI"),
        ("/buc/k?a+b", "InvalidURI"),
        ("/buc/k?acl=x", "InvalidArgument"),
        ("/buc/k?versionId=", "InvalidArgument"),
        ("/buc/k?uploadId", "InvalidArgument"),
        ("/buc/k?acl&tagging", "NotImplemented"),
        ("/buc/k?ACL", "NotImplemented"),
        ("/buc/k?uploads", "NotImplemented"),
        ("/buc/k?unknown", "NotImplemented"),
        ("/buc/k?x-amz-acl=public-read", "NotImplemented"),
        ("/buc?list-type=1", "InvalidArgument"),
        ("/buc?list-type=2&versions", "NotImplemented"),
        ("/buc?prefix=%ff", "InvalidURI"),
        ("/buc?prefix=a+b", "InvalidURI"),
        ("/buc?prefix=%2561", "InvalidURI"),
        ("/buc?max-keys=x", "InvalidArgument"),
        ("/?acl", "NotImplemented"),
    ],
)
def test_what_may_be_read_in_two_ways_or_is_unknown(target: str, code: str) -> None:
    found = ask(f"GET {target}")
    assert isinstance(found, Refusal), found
    assert found.code == code


@pytest.mark.parametrize("method", ["POST", "PATCH", "OPTIONS", "get", "", "CONNECT", "TRACE", "PROPFIND"])
def test_methods_that_are_no_operation(method: str) -> None:
    for target in ("/", "/buc", "/buc/k"):
        assert isinstance(ask(f"{method} {target}"), Refusal)


@pytest.mark.parametrize(
    "header",
    [
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Original-URL", "/other"),
        ("X-Forwarded-Host", "other"),
        ("x_amz_copy_source", "src/k"),
        ("Host", "s3.internal"),
        ("x-amz-rename-source", "src/k"),
    ],
)
def test_headers_that_replace_what_is_asked_for(header: tuple[str, str]) -> None:
    found = ask("PUT /buc/k", header)
    assert isinstance(found, Refusal)
    assert (found.code, found.status) == ("InvalidRequest", 400)


@pytest.mark.parametrize(
    "source",
    [
        *(
            "",
            "/",
            "src",
            "src/",
            "/src/",
            "//src/k",
            "src//k",
            "src/../other/k",
            "src/%2e%2e/k",
            "s%72c/k",
            "src%2Fk",
            "src/k%2500",
        ),
        *("src/k?versionId=", "src/k?version=1", "src/k?versionId=1&x=2", "src/k?", "src/a+b", "http://s3/src/k"),
        *("arn:aws:s3:eu-west-1:1:accesspoint/x/object/k", "src/é", "src/k?versionId=1?versionId=2"),
    ],
)
def test_sources_of_copies_that_may_be_read_in_two_ways(source: str) -> None:
    assert isinstance(ask("PUT /buc/k", ("x-amz-copy-source", source)), Refusal)


def test_a_source_stands_where_something_is_copied_only() -> None:
    for line in ("GET /buc/k", "PUT /buc/k?acl", "POST /buc/k?uploads", "PUT /buc", "DELETE /buc/k"):
        assert isinstance(ask(line, ("x-amz-copy-source", "src/k")), Refusal)
    assert isinstance(ask("PUT /buc/k", ("x-amz-copy-source", "src/k"), ("X-AMZ-COPY-SOURCE", "src/l")), Refusal)


def test_listings_tell_their_parameters_to_conditions() -> None:
    found = ask("GET /buc?list-type=2&prefix=a%2Fb&max-keys=5&delimiter=")
    assert isinstance(found, Asked)
    assert found.needs[0].context == {
        ConditionKey.PREFIX: "a/b",
        ConditionKey.MAX_KEYS: "5",
        ConditionKey.DELIMITER: "",
    }
    bare = ask("GET /buc")
    assert isinstance(bare, Asked)
    assert bare.needs[0].context == {}


@pytest.mark.parametrize("name", ["prefix", "delimiter"])
def test_what_is_longer_than_any_key_lists_nothing(name: str) -> None:
    assert isinstance(ask(f"GET /buc?{name}={'%C3%A9' * 512}"), Asked)
    found = ask(f"GET /buc?{name}={'a' * 1025}")
    assert isinstance(found, Refusal)
    assert found.code == "InvalidArgument"


@pytest.mark.parametrize(
    "name",
    [
        *("X-Amz-Meta-Snowball-Auto-Extract", "x-amz-meta-minio-snowball-prefix", "x-minio-source-mtime", "X-Minio-Extract"),
        *("x-rgw-auth", "x-amz-write-offset-bytes", "x-amz-create-session-mode", "x-amz-anything", "x-amz-"),
    ],
)
def test_headers_that_only_servers_know_are_refused(name: str) -> None:
    found = ask("PUT /buc/k", (name, "true"))
    assert isinstance(found, Refusal)
    assert (found.code, found.status) == ("InvalidRequest", 400)
    assert name.lower() in found.what


@pytest.mark.parametrize("name", ["x-amz-meta-a", "X-Amz-Meta-Snow", "x-amz-storage-class", "x-amzn-trace-id", "x-a"])
def test_all_other_headers_pass(name: str) -> None:
    assert needs("PUT /buc/k", (name, "a")) == ["PutObject buc/k"]


def test_each_operation_needs_actions_that_policies_may_name() -> None:
    named = {f"s3:{action}" for one in OPERATIONS for action in (*one.actions, *one.version_actions)}
    assert named <= ACTIONS
    assert ACTIONS - named == {"s3:BypassGovernanceRetention"}


def test_no_request_is_two_operations() -> None:
    for one in OPERATIONS:
        assert operation_of(one.level, one.method, one.parameters | COMMON) is one
        assert operation_of(one.level, one.method, one.parameters | one.optional) is one
