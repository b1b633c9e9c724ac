"""The requests of boto3's operations are understood, in both addressing styles, with the right bucket and key."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

from netorch.model.iam.s3.deletion import read_deletion
from netorch.model.iam.s3.request import Asked, S3Request, read_request
from netorch.model.iam.s3.uri import Service

SERVICE = Service(names=("s3.internal",))
KEYS = ("k", "dir/a b", "é/ü~!*'()&$@=:,", "100%", "a+b;c?d#e", 'quo"te\\<>{}|^`[]', "dir/")
Sent = list[S3Request | bytes]


def client(style: str, sent: Sent) -> Any:  # noqa: ANN401 - boto3 makes its clients' classes
    """Return a client that sends nothing; it appends its request and the body to `sent`."""
    config = Config(s3={"addressing_style": style}, retries={"max_attempts": 0}, region_name="us-east-1")
    found = boto3.client("s3", endpoint_url="http://s3.internal", aws_access_key_id="A", aws_secret_access_key="S", config=config)

    def keep(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        parts = urlsplit(request.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        given = [(name, value if isinstance(value, str) else value.decode()) for name, value in request.headers.items()]
        sent.append(S3Request(method=request.method, target=target, headers=[("Host", parts.netloc), *given]))
        sent.append(request.body if isinstance(request.body, bytes) else b"")
        raise _SentError

    found.meta.events.register("before-send.s3", keep)
    return found


class _SentError(Exception):
    pass


def asked(style: str, operation: str, **arguments: object) -> list[str]:
    sent: Sent = []
    with pytest.raises(_SentError):
        getattr(client(style, sent), operation)(**arguments)
    request, body = sent[:2]
    assert isinstance(request, S3Request)
    assert isinstance(body, bytes)
    found = read_request(SERVICE, request)
    if isinstance(found, Asked) and found.names_keys:
        found = read_deletion(found, body)
    assert isinstance(found, Asked), (request, found)
    return [f"{need.action.removeprefix('s3:')} {need.resource.removeprefix('arn:aws:s3:::')}" for need in found.needs]


@pytest.mark.parametrize("style", ["path", "virtual"])
@pytest.mark.parametrize("key", KEYS)
def test_objects(style: str, key: str) -> None:
    at: dict[str, Any] = {"Bucket": "buc", "Key": key}
    source = {"Bucket": "src", "Key": key}
    assert asked(style, "get_object", **at) == [f"GetObject buc/{key}"]
    assert asked(style, "head_object", **at) == [f"GetObject buc/{key}"]
    assert asked(style, "put_object", Body=b"x", Tagging="a=b", **at) == [f"PutObject buc/{key}", f"PutObjectTagging buc/{key}"]
    assert asked(style, "delete_object", VersionId="null", **at) == [f"DeleteObjectVersion buc/{key}"]
    assert asked(style, "copy_object", CopySource=source, **at) == [f"PutObject buc/{key}", f"GetObject src/{key}"]
    assert asked(style, "upload_part_copy", CopySource={**source, "VersionId": "7"}, PartNumber=1, UploadId="u", **at) == [
        f"PutObject buc/{key}",
        f"GetObjectVersion src/{key}",
    ]
    assert asked(style, "create_multipart_upload", **at) == [f"PutObject buc/{key}"]
    assert asked(style, "upload_part", PartNumber=1, UploadId="u/+=", Body=b"x", **at) == [f"PutObject buc/{key}"]
    assert asked(style, "list_parts", UploadId="u", **at) == [f"ListMultipartUploadParts buc/{key}"]
    assert asked(style, "abort_multipart_upload", UploadId="u", **at) == [f"AbortMultipartUpload buc/{key}"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": "e"}]}
    assert asked(style, "complete_multipart_upload", UploadId="u", MultipartUpload=parts, **at) == [f"PutObject buc/{key}"]
    assert asked(style, "put_object_tagging", Tagging={"TagSet": []}, **at) == [f"PutObjectTagging buc/{key}"]
    assert asked(style, "get_object_acl", **at) == [f"GetObjectAcl buc/{key}"]
    assert asked(style, "get_object_attributes", ObjectAttributes=["ETag"], **at) == [
        f"GetObject buc/{key}",
        f"GetObjectAttributes buc/{key}",
    ]
    gone = {"Objects": [{"Key": key}, {"Key": "x", "VersionId": "7"}]}
    assert asked(style, "delete_objects", Bucket="buc", Delete=gone) == [f"DeleteObject buc/{key}", "DeleteObjectVersion buc/x"]


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_buckets(style: str) -> None:
    assert asked(style, "list_buckets") == ["ListAllMyBuckets *"]
    for operation, action in (
        ("create_bucket", "CreateBucket"),
        ("head_bucket", "ListBucket"),
        ("delete_bucket", "DeleteBucket"),
        ("list_object_versions", "ListBucketVersions"),
        ("list_multipart_uploads", "ListBucketMultipartUploads"),
        ("get_bucket_location", "GetBucketLocation"),
        ("get_bucket_policy", "GetBucketPolicy"),
        ("get_bucket_versioning", "GetBucketVersioning"),
        ("get_bucket_lifecycle_configuration", "GetLifecycleConfiguration"),
        ("delete_bucket_cors", "PutBucketCORS"),
        ("list_bucket_inventory_configurations", "GetInventoryConfiguration"),
    ):
        assert asked(style, operation, Bucket="buc") == [f"{action} buc"]
    listing = {"Bucket": "buc", "Prefix": "a b/é+", "Delimiter": "/", "MaxKeys": 7}
    assert asked(style, "list_objects_v2", StartAfter="x", FetchOwner=True, **listing) == ["ListBucket buc"]
    assert asked(style, "list_objects", Marker="x", **listing) == ["ListBucket buc"]


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_links(version: str) -> None:
    config = Config(signature_version=version, region_name="us-east-1", s3={"addressing_style": "path"})
    signer = boto3.client(
        "s3", endpoint_url="http://s3.internal", aws_access_key_id="A", aws_secret_access_key="S", config=config
    )
    for operation, method, action in (("get_object", "GET", "GetObject"), ("put_object", "PUT", "PutObject")):
        parts = urlsplit(signer.generate_presigned_url(operation, Params={"Bucket": "buc", "Key": "a b"}))
        request = S3Request(method=method, target=f"{parts.path}?{parts.query}", headers=[("Host", parts.netloc)])
        found = read_request(SERVICE, request)
        assert isinstance(found, Asked), found
        assert [need.action for need in found.needs] == [f"s3:{action}"]
