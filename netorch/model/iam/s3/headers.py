"""The headers of a request to S3, and the refusal of non-S3 headers that a server may act on.

A server may have its own headers with effects beyond S3: MinIO extracts an archive into many objects for
`x-amz-meta-snowball-auto-extract`, and treats `x-minio-...` as messages from its peer servers. No permission covers these
effects. So a header `x-amz-...` passes only if S3's API reference lists it and netorch knows its effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from netorch.model.iam.s3.refusal import Refusal

COPY_SOURCE: Final = "x-amz-copy-source"
BYPASS: Final = "x-amz-bypass-governance-retention"
# header that sets a property of a new object or bucket -> required permission for (object, bucket)
GIVING: Final = {
    "x-amz-acl": ("PutObjectAcl", "PutBucketAcl"),
    "x-amz-grant-full-control": ("PutObjectAcl", "PutBucketAcl"),
    "x-amz-grant-read": ("PutObjectAcl", "PutBucketAcl"),
    "x-amz-grant-read-acp": ("PutObjectAcl", "PutBucketAcl"),
    "x-amz-grant-write": ("PutObjectAcl", "PutBucketAcl"),
    "x-amz-grant-write-acp": ("PutObjectAcl", "PutBucketAcl"),
    "x-amz-tagging": ("PutObjectTagging", "PutBucketTagging"),
    "x-amz-object-lock-mode": ("PutObjectRetention", ""),
    "x-amz-object-lock-retain-until-date": ("PutObjectRetention", ""),
    "x-amz-object-lock-legal-hold": ("PutObjectLegalHold", ""),
    "x-amz-object-ownership": ("", "PutBucketOwnershipControls"),
    "x-amz-bucket-object-lock-enabled": ("", "PutBucketObjectLockConfiguration"),
}
_READ: Final = frozenset(("host", COPY_SOURCE, BYPASS, *GIVING))  # a duplicate of these is ambiguous
# Headers with which some servers replace the method, the path or the host.
_REPLACING: Final = frozenset(
    (
        *("x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"),
        *("x-original-host", "x-forwarded-host", "x-forwarded-prefix", "x-host", "forwarded", "x-amz-rename-source"),
    )
)
_AMZ: Final = "x-amz-"
_CUSTOMER_KEY: Final = tuple(f"server-side-encryption-customer-{what}" for what in ("algorithm", "key", "key-md5"))
_CHANGES_NOTHING: Final = frozenset(  # headers that do not change the required permissions
    f"{_AMZ}{name}"
    for name in (
        # signatures and client libraries
        *("content-sha256", "date", "security-token", "user-agent", "decoded-content-length", "trailer", "api-version", "te"),
        # checksums
        *("sdk-checksum-algorithm", "checksum-algorithm", "checksum-mode", "checksum-type"),
        *(f"checksum-{kind}" for kind in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")),
        # payer, expected bucket owner, preconditions
        *("request-payer", "expected-bucket-owner", "source-expected-bucket-owner", "mfa", "mp-object-size"),
        *("if-match-initiated-time", "if-match-last-modified-time", "if-match-size"),
        # storage and metadata of objects
        *("storage-class", "website-redirect-location", "metadata-directive", "tagging-directive"),
        *("server-side-encryption", "server-side-encryption-aws-kms-key-id", "server-side-encryption-context"),
        *("server-side-encryption-bucket-key-enabled", *_CUSTOMER_KEY),
        *("object-attributes", "optional-object-attributes", "max-parts", "part-number-marker"),
        # sources of copies
        *(f"copy-source-if-{what}" for what in ("match", "none-match", "modified-since", "unmodified-since")),
        *("copy-source-range", *(f"copy-source-{name}" for name in _CUSTOMER_KEY)),
        # configurations of buckets
        *("bucket-object-lock-token", "confirm-remove-self-bucket-access", "skip-destination-validation"),
        "transition-default-minimum-object-size",
    )
)
_KNOWN: Final = frozenset((COPY_SOURCE, BYPASS, *GIVING)) | _CHANGES_NOTHING
_META: Final = f"{_AMZ}meta-"
# Private headers of MinIO and Ceph.
_SERVERS_OWN: Final = ("x-minio-", "x-rgw-", f"{_META}snowball-", f"{_META}minio-")


def read_headers(headers: Sequence[tuple[str, str]]) -> Mapping[str, str] | Refusal:
    """Return the headers by lower-case name, or why the request is refused."""
    found: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if "_" in lower or lower in _REPLACING:
            return Refusal("InvalidRequest", f"the header {lower[:60]} may replace what the request asks for")
        if lower.startswith(_SERVERS_OWN) or (lower.startswith(_AMZ) and not lower.startswith(_META) and lower not in _KNOWN):
            return Refusal("InvalidRequest", f"netorch does not know the S3 header {lower[:60]}; leave it out")
        if lower in found and lower in _READ:
            return Refusal("InvalidRequest", f"the header {lower} occurs twice")
        found[lower] = value
    return found
