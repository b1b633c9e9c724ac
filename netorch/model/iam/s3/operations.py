"""S3's operations by method and parameters, with the permissions that they need.

Source: S3's API reference, and its user guide, "Required permissions for Amazon S3 API operations".
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec


class Level(Enum):
    """The kind of resource of an operation."""

    SERVICE = "service"
    BUCKET = "bucket"
    OBJECT = "object"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. A request matches if it has all `parameters`, and no others except `optional` ones."""

    level: Level
    method: str
    actions: tuple[str, ...]  # GetObject, without s3:
    version_actions: tuple[str, ...] = ()  # replace `actions` if the request has a versionId
    parameters: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    creates: bool = False  # creates an object or bucket: headers may set ACL, tags, locks
    copies: bool = False  # a header may name a copy source
    lists: bool = False  # supplies s3:prefix, s3:delimiter and s3:max-keys
    names_keys: bool = False  # the body names the keys: `netorch.model.iam.s3.deletion`


# Parameters of signatures and client libraries. They do not change the operation.
COMMON: Final = frozenset(
    (
        *("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"),
        *("X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-User-Agent", "AWSAccessKeyId", "Signature", "Expires"),
        *("x-id", "x-amz-checksum-mode", "x-amz-checksum-crc32", "x-amz-checksum-crc64nvme", "x-amz-sdk-checksum-algorithm"),
        "x-amz-security-token",
    )
)
VALUED: Final = frozenset(
    ("uploadId", "partNumber", "versionId", "id", "select-type")
)  # parameters whose value is required; other required parameters must be empty
_RESPONSE: Final = tuple(
    f"response-{name}"
    for name in ("cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires")
)
_LISTED: Final = ("prefix", "delimiter", "max-keys", "encoding-type")

# parameter -> actions of GET, PUT and DELETE
_OF_BUCKETS: Final = {
    "accelerate": ("GetAccelerateConfiguration", "PutAccelerateConfiguration", ""),
    "acl": ("GetBucketAcl", "PutBucketAcl", ""),
    "cors": ("GetBucketCORS", "PutBucketCORS", "PutBucketCORS"),
    "encryption": ("GetEncryptionConfiguration", "PutEncryptionConfiguration", "PutEncryptionConfiguration"),
    "lifecycle": ("GetLifecycleConfiguration", "PutLifecycleConfiguration", "PutLifecycleConfiguration"),
    "location": ("GetBucketLocation", "", ""),
    "logging": ("GetBucketLogging", "PutBucketLogging", ""),
    "notification": ("GetBucketNotification", "PutBucketNotification", ""),
    "object-lock": ("GetBucketObjectLockConfiguration", "PutBucketObjectLockConfiguration", ""),
    "ownershipControls": ("GetBucketOwnershipControls", "PutBucketOwnershipControls", "PutBucketOwnershipControls"),
    "policy": ("GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"),
    "policyStatus": ("GetBucketPolicyStatus", "", ""),
    "publicAccessBlock": ("GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock", "PutBucketPublicAccessBlock"),
    "replication": ("GetReplicationConfiguration", "PutReplicationConfiguration", "PutReplicationConfiguration"),
    "requestPayment": ("GetBucketRequestPayment", "PutBucketRequestPayment", ""),
    "tagging": ("GetBucketTagging", "PutBucketTagging", "PutBucketTagging"),
    "versioning": ("GetBucketVersioning", "PutBucketVersioning", ""),
    "website": ("GetBucketWebsite", "PutBucketWebsite", "DeleteBucketWebsite"),
}
_NUMBERED: Final = {  # several per bucket, each with an id; GET without id lists them
    "analytics": "AnalyticsConfiguration",
    "intelligent-tiering": "IntelligentTieringConfiguration",
    "inventory": "InventoryConfiguration",
    "metrics": "MetricsConfiguration",
}
_OF_OBJECTS: Final = {  # GET, PUT and DELETE, then the same for a version
    "acl": ("GetObjectAcl", "PutObjectAcl", "", "GetObjectVersionAcl", "PutObjectVersionAcl", ""),
    "tagging": (
        *("GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging"),
        *("GetObjectVersionTagging", "PutObjectVersionTagging", "DeleteObjectVersionTagging"),
    ),
    "retention": ("GetObjectRetention", "PutObjectRetention", "", "GetObjectRetention", "PutObjectRetention", ""),
    "legal-hold": ("GetObjectLegalHold", "PutObjectLegalHold", "", "GetObjectLegalHold", "PutObjectLegalHold", ""),
    "torrent": ("GetObjectTorrent", "", "", "GetObjectVersionTorrent", "", ""),
}
_METHODS: Final = ("GET", "PUT", "DELETE")


def _service(action: str, *optional: str) -> Operation:
    return Operation(level=Level.SERVICE, method="GET", actions=(action,), optional=frozenset(optional))


def _bucket(
    method: str,
    action: str,
    *parameters: str,
    optional: tuple[str, ...] = (),
    creates: bool = False,
    lists: bool = False,
    names_keys: bool = False,
) -> Operation:
    return Operation(
        level=Level.BUCKET,
        method=method,
        actions=(action,),
        parameters=frozenset(parameters),
        optional=frozenset(optional),
        creates=creates,
        lists=lists,
        names_keys=names_keys,
    )


def _object(
    method: str,
    *actions: str,
    versions: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    creates: bool = False,
    copies: bool = False,
) -> Operation:
    return Operation(
        level=Level.OBJECT,
        method=method,
        actions=actions,
        version_actions=versions,
        parameters=frozenset(needs),
        optional=frozenset((*optional, *(("versionId",) if versions else ()))),
        creates=creates,
        copies=copies,
    )


def _configurations() -> Iterator[Operation]:
    """Yield the operations on configurations, each with its own parameter."""
    for name, actions in _OF_BUCKETS.items():
        yield from (_bucket(method, action, name) for method, action in zip(_METHODS, actions, strict=True) if action)
    for name, what in _NUMBERED.items():
        yield _bucket("GET", f"Get{what}", name, optional=("continuation-token",))
        for method, verb in (("GET", "Get"), ("PUT", "Put"), ("DELETE", "Put")):
            yield _bucket(method, f"{verb}{what}", name, "id")
    for name, found in _OF_OBJECTS.items():
        for method, action, of_version in zip(_METHODS, found[:3], found[3:], strict=True):
            if action:
                yield _object(method, action, versions=(of_version,), needs=(name,))


OPERATIONS: Final = (
    _service("ListAllMyBuckets", "max-buckets", "continuation-token", "prefix", "bucket-region"),
    _bucket("PUT", "CreateBucket", creates=True),
    _bucket("DELETE", "DeleteBucket"),
    _bucket("HEAD", "ListBucket"),
    _bucket("GET", "ListBucket", optional=(*_LISTED, "marker"), lists=True),
    _bucket(
        "GET", "ListBucket", "list-type", optional=(*_LISTED, "continuation-token", "start-after", "fetch-owner"), lists=True
    ),
    _bucket("GET", "ListBucketVersions", "versions", optional=(*_LISTED, "key-marker", "version-id-marker"), lists=True),
    _bucket(
        *("GET", "ListBucketMultipartUploads", "uploads"),
        optional=("prefix", "delimiter", "max-uploads", "encoding-type", "key-marker", "upload-id-marker"),
    ),
    _bucket("POST", "DeleteObject", "delete", names_keys=True),
    _object("GET", "GetObject", versions=("GetObjectVersion",), optional=("partNumber", *_RESPONSE)),
    _object("HEAD", "GetObject", versions=("GetObjectVersion",), optional=("partNumber", *_RESPONSE)),
    _object("PUT", "PutObject", creates=True, copies=True),
    _object("DELETE", "DeleteObject", versions=("DeleteObjectVersion",)),
    _object(
        *("GET", "GetObject", "GetObjectAttributes"),
        versions=("GetObjectVersion", "GetObjectVersionAttributes"),
        needs=("attributes",),
    ),
    _object("POST", "GetObject", needs=("select", "select-type")),
    _object("POST", "RestoreObject", versions=("RestoreObject",), needs=("restore",)),
    _object("POST", "PutObject", needs=("uploads",), creates=True),
    _object("PUT", "PutObject", needs=("uploadId", "partNumber"), copies=True),
    _object("POST", "PutObject", needs=("uploadId",)),
    _object("DELETE", "AbortMultipartUpload", needs=("uploadId",)),
    _object(
        *("GET", "ListMultipartUploadParts"),
        needs=("uploadId",),
        optional=("max-parts", "part-number-marker", "encoding-type"),
    ),
    *_configurations(),
)


def operation_of(level: Level, method: str, names: frozenset[str]) -> Operation | None:
    """Return the operation that matches a request's parameters; None if no operation or more than one matches."""
    asked = names - COMMON
    found = [
        one
        for one in OPERATIONS
        if one.level is level and one.method == method and one.parameters <= asked <= one.parameters | one.optional
    ]
    return found[0] if len(found) == 1 else None
