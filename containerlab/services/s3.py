"""Use S3 with boto3, as an application does: python3 s3.py make BUCKET | put BUCKET KEY TEXT | get BUCKET KEY.

It asks at one of the addresses of the service's prefix. Both customers have the same credentials here, so that nothing but the
way tells them apart.
"""

from __future__ import annotations

import sys
from typing import Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ENDPOINT: Final = "http://198.19.0.10"


def main(act: str, bucket: str, key: str = "", text: str = "") -> str:
    """Return what S3 says. Raises ClientError for a refusal, BotoCoreError where nobody answers."""
    patience = Config(connect_timeout=4, read_timeout=20, retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "demo", "aws_secret_access_key": "demo"}
    s3 = boto3.client("s3", endpoint_url=ENDPOINT, region_name="us-east-1", config=patience, **keys)
    if act == "make":
        s3.create_bucket(Bucket=bucket)
        return f"made {bucket}"
    if act == "put":
        s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
        return f"put {bucket}/{key}"
    body: str = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return f"{bucket}/{key}: {body}"


if __name__ == "__main__":
    try:
        print(main(*sys.argv[1:]))
    except ClientError as error:
        sys.exit(f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')}")
    except BotoCoreError as error:
        sys.exit(f"no answer: {error}")
