"""Bucket, key and parameters of a request, accepted only if every server interprets them in the same way.

netorch forwards the request unchanged, because a signature covers it. So it refuses ambiguous requests: encodings that do not
decode to UTF-8 or would decode twice, `.` and `..` between slashes, two slashes in a row, a `+` that may be a space, `;`, and
bucket names with encoded characters. Client libraries send these only for keys that contain such parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from netorch.model.addr import AddressError, Prefix, parse_ip
from netorch.model.iam.s3.refusal import Refusal

MOST_KEY_BYTES: Final = 1024
ARN: Final = "arn:aws:s3:::"  # followed by a bucket
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_IPV4_LIKE: Final = re.compile(r"[0-9]+(\.[0-9]+){3}\Z")
# RFC 3986 section 3.3, without '+' and ';'.
_PATH: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*,:@=/-]|%[0-9A-Fa-f]{2})*\Z")
# RFC 3986 section 3.4, without ';' and '&'.
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9._~!$'()*,:@=/?+-]|%[0-9A-Fa-f]{2})*\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9-]+\Z")
_ENCODED: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_VERSION: Final = re.compile(r"versionId=[A-Za-z0-9._-]+\Z")
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?\Z")


class Place(msgspec.Struct, frozen=True):
    """The resource of a request: an object, a bucket (no key), or the service (no bucket)."""

    bucket: str = ""
    key: str = ""

    @property
    def arn(self) -> str:
        """Return the resource's ARN, as policies name it."""
        if not self.bucket:
            return "*"
        return f"{ARN}{self.bucket}/{self.key}" if self.key else f"{ARN}{self.bucket}"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The names and prefixes of a service. The server must use the same names, or it derives other buckets from a Host header."""

    names: tuple[str, ...]  # lower case: s3.internal; clients may also use BUCKET.s3.internal
    prefixes: tuple[Prefix, ...] = ()  # a Host header with an address in these names no bucket


def place_of(service: Service, host: str, path: str) -> Place | Refusal:
    """Return the resource of a request from its Host header and the path of its target (still encoded)."""
    bucket = _bucket_of_host(service, host)
    if isinstance(bucket, Refusal):
        return bucket
    if not path.startswith("/"):
        return Refusal("InvalidURI", "the target of the request is not a path that begins with '/'")
    if bucket:
        return _placed(bucket, path[1:])
    name, _, key = path[1:].partition("/")
    if not name:
        return Refusal("InvalidURI", "the path begins with two slashes") if path != "/" else Place()
    return _placed(name, key)


def source_of(header: str) -> tuple[Place, str] | Refusal:
    """Return the object of an x-amz-copy-source header, and its version, or an empty text."""
    path, mark, query = header.removeprefix("/").partition("?")
    bucket, _, key = path.partition("/")
    if not key or (mark and not _VERSION.match(query)):
        return Refusal("InvalidArgument", "x-amz-copy-source is not BUCKET/KEY or BUCKET/KEY?versionId=ID, percent-encoded")
    placed = _placed(bucket, key)
    return placed if isinstance(placed, Refusal) else (placed, query.removeprefix("versionId="))


def parameters(query: str) -> Mapping[str, str] | Refusal:
    """Return the parameters of a query, still encoded. A parameter without a value has an empty text."""
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        if not _NAME.match(name) or not _VALUE.match(value):
            return Refusal("InvalidURI", "a parameter has characters that must be percent-encoded, or its name is encoded")
        if name in found:
            return Refusal("InvalidArgument", f"the parameter {name} occurs twice")
        found[name] = value
    return found


def decoded(text: str) -> str | Refusal:
    """Return the decoded form of a percent-encoded text, or why it is ambiguous."""
    if "+" in text:
        return Refusal("InvalidURI", "a '+' may be a space or itself; write %20 or %2B")
    try:
        found = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return Refusal("InvalidURI", "the encoded bytes are not UTF-8")
    return text_problem(found) or found


def text_problem(text: str) -> Refusal | None:
    """Return why a decoded text is ambiguous, or None."""
    if _ENCODED.search(text):
        return Refusal("InvalidURI", "the decoded text has a percent-encoding in it, and may be decoded twice")
    if _CONTROL.search(text):
        return Refusal("InvalidURI", "the decoded text has control characters")
    return None


def key_problem(key: str) -> Refusal | None:
    """Return why some servers may change a decoded key, or None."""
    if len(key.encode("utf-8", "surrogatepass")) > MOST_KEY_BYTES:
        return Refusal("KeyTooLongError", f"the key has more than {MOST_KEY_BYTES} bytes")
    parts = key.split("/")
    if "." in parts or ".." in parts:
        return Refusal("InvalidURI", "a part of the key is '.' or '..'")
    if "" in parts[:-1]:
        return Refusal("InvalidURI", "the key begins with a slash, or has two in a row")
    return None


def bucket_problem(name: str) -> Refusal | None:
    """Return why a text is not a bucket name, or None. Source: S3's user guide, "Bucket naming rules"."""
    if _BUCKET.match(name) and ".." not in name and not _IPV4_LIKE.match(name):
        return None
    return Refusal(
        "InvalidBucketName", "a bucket's name has 3 to 63 lowercase letters, digits, '.' and '-', none of them percent-encoded"
    )


def _placed(bucket: str, path: str) -> Place | Refusal:
    if problem := bucket_problem(bucket):
        return problem
    if not _PATH.match(path):
        return Refusal("InvalidURI", "the path has characters that must be percent-encoded")
    key = decoded(path)
    if isinstance(key, Refusal):
        return key
    return key_problem(key) or Place(bucket, key)


def _bucket_of_host(service: Service, host: str) -> str | Refusal:
    """Return the bucket in a Host header; empty if the bucket is in the path."""
    found = _HOST.match(host)
    if found is None:
        return Refusal("InvalidRequest", "the Host header is not NAME or NAME:PORT")
    name = found["name"]
    try:
        version, value = parse_ip(name.strip("[]"))
    except AddressError:
        pass
    else:
        if any(prefix.holds(version, value) for prefix in service.prefixes):
            return ""
    readings = {""} if name.lower() in service.names else set[str]()
    readings |= {name[: -len(one) - 1] for one in service.names if name.lower().endswith(f".{one}") and len(name) > len(one) + 1}
    if len(readings) != 1:
        return Refusal("InvalidRequest", "the Host header is not a name of this service, or is ambiguous")
    (bucket,) = readings
    return (bucket_problem(bucket) or bucket) if bucket else ""
