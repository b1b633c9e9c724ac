"""The actions of S3 that a policy may name. Source: Service Authorization Reference, "Actions defined by Amazon S3"."""

from __future__ import annotations

from typing import Final

_GET_AND_PUT: Final = (
    "AccelerateConfiguration",
    "AnalyticsConfiguration",
    "BucketAcl",
    "BucketCORS",
    "BucketLogging",
    "BucketNotification",
    "BucketObjectLockConfiguration",
    "BucketOwnershipControls",
    "BucketPolicy",
    "BucketPublicAccessBlock",
    "BucketRequestPayment",
    "BucketTagging",
    "BucketVersioning",
    "BucketWebsite",
    "EncryptionConfiguration",
    "IntelligentTieringConfiguration",
    "InventoryConfiguration",
    "LifecycleConfiguration",
    "MetricsConfiguration",
    "ObjectAcl",
    "ObjectLegalHold",
    "ObjectRetention",
    "ObjectTagging",
    "ObjectVersionAcl",
    "ObjectVersionTagging",
    "ReplicationConfiguration",
)
_OTHERS: Final = (
    "AbortMultipartUpload",
    "BypassGovernanceRetention",
    "CreateBucket",
    "DeleteBucket",
    "DeleteBucketPolicy",
    "DeleteBucketWebsite",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjectVersion",
    "DeleteObjectVersionTagging",
    "GetBucketLocation",
    "GetBucketPolicyStatus",
    "GetObject",
    "GetObjectAttributes",
    "GetObjectTorrent",
    "GetObjectVersion",
    "GetObjectVersionAttributes",
    "GetObjectVersionTorrent",
    "ListAllMyBuckets",
    "ListBucket",
    "ListBucketMultipartUploads",
    "ListBucketVersions",
    "ListMultipartUploadParts",
    "PutObject",
    "RestoreObject",
)
ACTIONS: Final = frozenset(
    f"s3:{name}" for name in (*_OTHERS, *(f"{verb}{what}" for what in _GET_AND_PUT for verb in ("Get", "Put")))
)
