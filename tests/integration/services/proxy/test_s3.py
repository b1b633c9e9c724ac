"""Real clients (boto3, `aws s3`) and a real S3-compatible server, with the proxy between: everything works, and policies hold."""

from __future__ import annotations

import io
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.integration.services.proxy.stand import ENDPOINTS, VPCS, ProxyStand, document
from tests.rig.services.process import LOOPBACK, ServiceProcess, service_process
from tests.rig.services.s3 import HOSTS, S3, Interrupting, aws, client, names_at, s3_server

KEY = "a b/c+d%é/..x"
ARN = "arn:aws:s3:::"


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of the server."""
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    with s3_server(LOOPBACK, port, tmp_path_factory.mktemp("s3")):
        yield f"http://{LOOPBACK}:{port}"


@pytest.fixture
def s3(daemon: ServiceProcess, direct: str) -> Iterator[ProxyStand]:
    """Return two endpoints in front of an empty server; the service's names resolve to the proxy."""
    stand = ProxyStand(daemon, direct)
    stand.serve()
    with names_at(LOOPBACK):
        yield stand
    server = client(direct)
    for bucket in server.list_buckets()["Buckets"]:
        for each in server.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ()):
            server.delete_object(Bucket=bucket["Name"], Key=each["Key"])
        server.delete_bucket(Bucket=bucket["Name"])
        stand.bucket(bucket["Name"], "")


def through(stand: ProxyStand, style: str, letter: str = "a") -> S3:
    """Return a client that uses the service's name."""
    return client(f"http://{HOSTS[0]}:{stand.port(letter)}", style)


def refusal(call: object, **arguments: object) -> str:
    """Return why a call is refused with 403, or nothing."""
    assert callable(call)
    try:
        call(**arguments)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return str(error.response["Error"].get("Message")) or "403"
    return ""


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_everything_that_sdks_do_works(s3: ProxyStand, style: str) -> None:
    at = through(s3, style)
    at.create_bucket(Bucket="xxx")
    at.put_object(Bucket="xxx", Key=KEY, Body=b"hello", Metadata={"who": "me"})
    assert at.get_object(Bucket="xxx", Key=KEY)["Body"].read() == b"hello"
    assert at.get_object(Bucket="xxx", Key=KEY, Range="bytes=1-2")["Body"].read() == b"el"
    assert at.head_object(Bucket="xxx", Key=KEY)["Metadata"] == {"who": "me"}
    large = os.urandom(11 << 20)
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    at.upload_fileobj(io.BytesIO(large), "xxx", "large", Config=parts)
    got = io.BytesIO()
    at.download_fileobj("xxx", "large", got)
    assert got.getvalue() == large
    at.copy_object(Bucket="xxx", Key="copy", CopySource={"Bucket": "xxx", "Key": KEY})
    assert [each["Key"] for each in at.list_objects_v2(Bucket="xxx", Prefix="", MaxKeys=10)["Contents"]] == [KEY, "copy", "large"]
    assert [each["Name"] for each in at.list_buckets()["Buckets"]] == ["xxx"]
    at.delete_objects(Bucket="xxx", Delete={"Objects": [{"Key": "large"}, {"Key": "copy"}]})
    assert [each["Key"] for each in at.list_objects_v2(Bucket="xxx")["Contents"]] == [KEY]
    with pytest.raises(ClientError, match="404"):
        at.head_object(Bucket="xxx", Key="absent")
    at.delete_object(Bucket="xxx", Key=KEY)
    at.delete_bucket(Bucket="xxx")


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_presigned_urls_work(s3: ProxyStand, style: str) -> None:
    at = through(s3, style)
    at.create_bucket(Bucket="xxx")
    parameters = {"Bucket": "xxx", "Key": KEY}
    url, kind = at.generate_presigned_url("put_object", parameters), {"Content-Type": "text/plain"}
    put = urllib.request.Request(url, data=b"hello", method="PUT", headers=kind)
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(at.generate_presigned_url("get_object", parameters)) as answer:
        assert answer.read() == b"hello"
    s3.serve(a=document({"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}))
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(at.generate_presigned_url("get_object", parameters))
    refused.value.close()


def test_the_aws_command_works_and_is_told_what_is_refused(
    s3: ProxyStand, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    at = ("--endpoint-url", f"http://{HOSTS[0]}:{s3.port('a')}")
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(9 << 20))  # `aws s3` sends it in two parts
    assert aws("s3", "mb", "s3://xxx", *at) == 0
    assert aws("s3", "cp", str(there), "s3://xxx/k", *at) == 0
    assert aws("s3", "ls", "s3://xxx", *at) == 0
    assert aws("s3", "cp", "s3://xxx/k", str(back), *at) == 0
    assert back.read_bytes() == there.read_bytes()
    assert " 9437184 k" in capfd.readouterr().out
    s3.serve(a=document({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}))
    assert aws("s3", "ls", "s3://xxx", *at) != 0
    assert "because no VPC endpoint policy allows the s3:ListBucket action" in capfd.readouterr().err


def test_an_endpoint_gives_only_what_its_policy_allows(s3: ProxyStand) -> None:
    a, b = s3.client("a"), s3.client("b")
    for bucket in ("xxx", "yyy", "zzz"):
        b.create_bucket(Bucket=bucket)
    resources = [f"{ARN}{bucket}{rest}" for bucket in ("xxx", "yyy") for rest in ("", "/*")]
    s3.serve(a=document({"Effect": "Allow", "Action": "s3:*", "Resource": resources}))
    for bucket in ("xxx", "yyy"):
        assert refusal(a.put_object, Bucket=bucket, Key="k", Body=b"x") == ""
        assert refusal(a.list_objects_v2, Bucket=bucket) == ""
    assert "because no VPC endpoint policy allows the s3:PutObject action" in refusal(
        a.put_object, Bucket="zzz", Key="k", Body=b"x"
    )
    assert "because no VPC endpoint policy allows the s3:ListBucket action" in refusal(a.list_objects_v2, Bucket="zzz")
    copied = {"Bucket": "yyy", "Key": "k"}
    assert refusal(a.copy_object, Bucket="xxx", Key="l", CopySource=copied) == ""
    assert refusal(a.copy_object, Bucket="zzz", Key="l", CopySource=copied)
    assert refusal(b.put_object, Bucket="zzz", Key="k", Body=b"x") == ""
    assert refusal(a.copy_object, Bucket="xxx", Key="m", CopySource={"Bucket": "zzz", "Key": "k"})
    assert refusal(a.delete_objects, Bucket="zzz", Delete={"Objects": [{"Key": "k"}]})
    assert [each["Key"] for each in b.list_objects_v2(Bucket="zzz")["Contents"]] == ["k"]


def test_a_bucket_is_only_for_the_vpc_or_endpoint_that_its_policy_names(s3: ProxyStand) -> None:
    clients = {letter: s3.client(letter) for letter in "ab"}
    clients["a"].create_bucket(Bucket="xxx")
    for key, value in (("aws:sourceVpc", VPCS["a"]), ("aws:sourceVpce", ENDPOINTS["a"])):
        condition = {"StringNotEquals": {key: value}}
        s3.bucket(
            "xxx",
            document({"Effect": "Deny", "Action": "s3:*", "Resource": [f"{ARN}xxx", f"{ARN}xxx/*"], "Condition": condition}),
        )
        assert refusal(clients["a"].put_object, Bucket="xxx", Key="k", Body=b"x") == ""
        assert "with an explicit deny in a resource-based policy" in refusal(
            clients["b"].put_object, Bucket="xxx", Key="k", Body=b"x"
        )
        assert refusal(clients["b"].list_objects_v2, Bucket="xxx")
    s3.bucket("xxx", "")
    assert refusal(clients["b"].list_objects_v2, Bucket="xxx") == ""


def test_a_policy_that_cannot_be_read_permits_nothing(s3: ProxyStand) -> None:
    a = s3.client("a")
    a.create_bucket(Bucket="xxx")
    s3.bucket("xxx", "{")
    assert refusal(a.list_objects_v2, Bucket="xxx")
    s3.bucket("xxx", "")
    s3.serve(a="{}")
    assert refusal(a.list_objects_v2, Bucket="xxx")
    assert refusal(s3.client("b").list_objects_v2, Bucket="xxx") == ""


def test_each_request_has_a_line_in_its_endpoints_log(s3: ProxyStand) -> None:
    a = s3.client("a")
    a.create_bucket(Bucket="xxx")
    a.put_object(Bucket="xxx", Key="k", Body=b"hello")
    s3.serve(
        a=document(
            {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "*"}, {"Effect": "Allow", "Action": "*", "Resource": "*"}
        )
    )
    assert refusal(a.get_object, Bucket="xxx", Key="k")
    put, get = s3.line("a", "PUT", 200, "/k"), s3.line("a", "GET", 403)
    assert (put.vpc, put.endpoint, put.source) == (VPCS["a"], ENDPOINTS["a"], LOOPBACK)
    assert (put.action, put.resource, put.received) == ("s3:PutObject", f"{ARN}xxx/k", 5)
    assert (get.action, get.resource) == ("s3:GetObject", f"{ARN}xxx/k")
    assert "statement 1 of the endpoint's policy" in get.reason
    s3.serve()
    url = a.generate_presigned_url("head_object", {"Bucket": "xxx", "Key": "k"})
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")):
        pass
    assert "X-Amz-Signature=" in url
    assert "X-Amz-Signature=..." in s3.line("a", "HEAD", 200, "X-Amz-Signature=").target


def test_a_proxy_that_is_killed_under_a_transfer_leaves_no_half_and_a_retry_gets_the_whole(direct: str) -> None:
    large = os.urandom(4 << 20)
    with service_process() as process:
        stand, server = ProxyStand(process, direct), client(direct)
        stand.serve()
        server.create_bucket(Bucket="halves")
        at = client(stand.url(), attempts=5)
        half = len(large) // 2

        def kill() -> None:
            before = server.list_objects_v2(Bucket="halves").get("KeyCount")
            process.kill()
            assert server.list_objects_v2(Bucket="halves").get("KeyCount") == before
            process.restart()
            stand.serve()
            stand.listen("a")

        def is_used() -> bool:
            return process.counts()[ENDPOINTS["a"]].get("connections", 0) > 0

        sent = Interrupting(kill, is_used, half, large)
        at.put_object(Bucket="halves", Key="k", Body=sent)
        assert server.get_object(Bucket="halves", Key="k")["Body"].read() == large
        got = Interrupting(kill, is_used, half)
        at.download_fileobj("halves", "k", got, Config=TransferConfig(use_threads=False))
        assert got.getvalue() == large
        assert (sent.happened, got.happened) == (True, True)
        server.delete_object(Bucket="halves", Key="k")
        server.delete_bucket(Bucket="halves")
