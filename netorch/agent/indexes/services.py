"""Services that gateway endpoints lead to, and their bucket policies, as an edge knows them.

An unreadable service has no listener. A bucket whose policy is unreadable, or unknown to this version, is shut: without a
policy it would be open.
"""

from __future__ import annotations

from typing import Final

import msgspec

from netorch.errors import UnreadableRecord
from netorch.model.endpoints.endpoint import BucketPolicy, GatewayService
from netorch.model.iam.parse import read_policy
from netorch.model.iam.policy import Policy
from netorch.records.codec import decode_value

_SHUT: Final = (
    '{"Version":"2012-10-17","Statement":{"Sid":"unreadable","Effect":"Deny","Principal":"*","Action":"*",'
    '"Resource":["arn:aws:s3:::BUCKET","arn:aws:s3:::BUCKET/*"]}}'
)


class Services:
    """Services and buckets from the store."""

    def __init__(self) -> None:
        self._services: dict[str, GatewayService] = {}
        self._buckets: dict[str, BucketPolicy | None] = {}  # None: unreadable

    def update(self, key: str, value: bytes | None) -> None:
        """Record a service or bucket, or its removal."""
        root, _, name = key.partition("/")
        if root == "gwsvc":
            self._services.pop(name, None)
        else:
            self._buckets.pop(name, None)
        if value is None:
            return
        try:
            if root == "gwsvc":
                self._services[name] = decode_value(key, value, GatewayService)
            else:
                found = decode_value(key, value, BucketPolicy)
                readable = not found.policy or isinstance(read_policy(found.policy, name), Policy)
                self._buckets[name] = found if readable else msgspec.structs.replace(found, policy=_shut(name))
        except UnreadableRecord:
            if root == "bucket":
                self._buckets[name] = None

    def known(self) -> tuple[GatewayService, ...]:
        """Return the services by name."""
        return tuple(service for _, service in sorted(self._services.items()))

    def buckets(self) -> tuple[BucketPolicy, ...]:
        """Return the buckets by name; an unreadable bucket is shut at every service."""
        found: list[BucketPolicy] = []
        for name, bucket in sorted(self._buckets.items()):
            if bucket is not None:
                found.append(bucket)
            else:
                shut = _shut(name)
                found += [BucketPolicy(name=name, service=service, owner="", policy=shut) for service in sorted(self._services)]
        return tuple(found)


def _shut(bucket: str) -> str:
    return _SHUT.replace("BUCKET", bucket)
