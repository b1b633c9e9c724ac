"""A real etcd cluster that asks for certificates, with a certificate authority and operators of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from click.testing import CliRunner

from netorch.cli.main import cli
from netorch.identity.authority import MEMBERS_NAME, OPERATOR_LIFE, Authority, key_pem, new_key, utc_now
from netorch.identity.files import AUTHORITY, OWN, load_authority, write
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
    """Run a cluster that admits users only, made by the commands that an operator uses."""
    ca, member, place = str(directory / AUTHORITY), str(directory / "member.pem"), ("--dir", str(directory))
    _run("ca", "create", "alice", *place, "--out", str(directory / "operator"))
    _run("ca", "member", "127.0.0.1", "localhost", *place, "--out", member)
    files = ["--client-cert-auth", "--trusted-ca-file", ca, "--cert-file", member, "--key-file", member]
    files += ["--peer-client-cert-auth", "--peer-trusted-ca-file", ca, "--peer-cert-file", member, "--peer-key-file", member]
    files += ["--peer-cert-allowed-hostname", MEMBERS_NAME]
    with running_cluster(size, files) as cluster:
        made = SecuredCluster(cluster, directory, load_authority(directory))
        _run("--store", made.url(made.operator), "ca", "enable")
        yield made


def _run(*arguments: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, (arguments, done.output, done.exception)
