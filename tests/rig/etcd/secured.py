"""A real etcd cluster that asks for certificates, with a certificate authority and operators of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from netorch.identity.authority import OPERATOR_LIFE, Authority, key_pem, new_key, utc_now
from netorch.identity.files import AUTHORITY, OWN, save_authority, write
from netorch.identity.users import OPERATOR, new_user
from netorch.store.etcd.access import EtcdAccess
from netorch.store.etcd.address import parse_address
from netorch.store.etcd.client import Client
from tests.rig.etcd.cluster import Cluster, running_cluster

STORE = "cloud"


class SecuredCluster:
    """A cluster, and the directory of its authority and of the first operator."""

    def __init__(self, cluster: Cluster, directory: Path, authority: Authority) -> None:
        self.cluster, self.directory, self.authority = cluster, directory, authority
        self.operator = directory / "operator"

    def url(self, identity: Path) -> str:
        """Return the store's URL for who has the identity in a directory."""
        own = identity / OWN
        return f"{self.cluster.url(STORE)}?ca={self.directory / AUTHORITY}&cert={own}&key={own}"

    def access(self) -> EtcdAccess:
        """Return the operator's access to users and roles."""
        return EtcdAccess(Client(parse_address(self.url(self.operator)), 10.0))

    def identity(self, name: str, user: str, authority: Authority | None = None, now: datetime | None = None) -> Path:
        """Return a directory with a certificate for a user, from any authority, made at any time."""
        key, path = new_key(), self.directory / name
        made = (authority or self.authority).for_user(key.public_key(), user, now or utc_now(), OPERATOR_LIFE)
        write(path / OWN, key_pem(key) + made.encode(), secret=True)
        return path


@contextlib.contextmanager
def secured_cluster(directory: Path, size: int = 1) -> Iterator[SecuredCluster]:
    """Run a cluster that admits users only."""
    authority = Authority.new("a cloud", utc_now())
    save_authority(directory, authority)
    key = new_key()
    member = directory / "member.pem"
    write(
        member, key_pem(key) + authority.for_member(key.public_key(), ["127.0.0.1", "localhost"], utc_now()).encode(), secret=True
    )
    ca = str(directory / AUTHORITY)
    files = ["--client-cert-auth", "--trusted-ca-file", ca, "--cert-file", str(member), "--key-file", str(member)]
    with running_cluster(size, files) as cluster:
        made = SecuredCluster(cluster, directory, authority)
        user = new_user(OPERATOR, "alice")
        made.identity("operator", user)
        access = made.access()
        with contextlib.closing(access):
            access.enable(user)
        yield made


EXPIRED = timedelta(days=-800)
