"""A cloud is moved and restored by the steps in docs/design/store.md, "Copies": with real certificates, on a real etcd."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from netorch.errors import StoreDenied, StoreError
from netorch.store import open_store
from tests.integration.identities.conftest import Cloud, Service, until
from tests.rig.etcd.hosts import Hosts
from tests.rig.etcd.secured import STORE

pytestmark = pytest.mark.slow


def go_on(cloud: Cloud, before: Hosts, directory: Path) -> Hosts:
    """Carry out the steps on the hosts. Assert that packets do not notice, and that the hosts follow; return their agents."""
    for name in before.kernels:
        (directory / f"{name}.snapshot").unlink()
    urls = {name: cloud.join(name, cloud.token(name)) for name in before.kernels}
    agents = Hosts(urls, directory, before)
    agents.until(agents.in_sync)
    assert [kernel.applied for kernel in agents.kernels.values()] == [[], []]
    placements = agents.agents["hv2"].records.placements
    known = len(placements)
    cloud.run("instance", "run", f"more-{known}", "--subnet", "acme/app", "--host", "hv2", "--no-wait")
    with contextlib.closing(open_store(cloud.operator_url)) as store:
        revision = store.revision()
    seen = [agent.follower.history for agent in agents.agents.values()]
    agents.until(lambda: len(placements) > known and all(history.revision >= revision for history in seen))
    agents.close()
    return agents


def test_a_cloud_is_moved_and_restored_by_the_documented_steps(
    cloud: Cloud, service: Service, hosts: dict[str, str], tmp_path: Path
) -> None:
    backup, first = str(tmp_path / "backup.db"), cloud.operator_url
    agents = Hosts(hosts, tmp_path)
    agents.until(lambda: agents.in_sync() and all(kernel.applied for kernel in agents.kernels.values()))
    agents.close()
    cloud.run("store", "copy", first, backup)
    cloud.run("vpc", "create", "later", "--cidr", "10.9.0.0/16")

    # Another name in the same cluster, because the old store is still there.
    service.close()
    assert "exists" in cloud.run("store", "copy", backup, first, code=1)
    cloud.operator_url = first.replace(f"/{STORE}?", "/second?")
    cloud.run("store", "copy", backup, cloud.operator_url)
    with contextlib.closing(Service(cloud)):
        with pytest.raises(StoreDenied):  # a host's role is of the old store
            cloud.store(hosts["hv1"].replace(f"/{STORE}?", "/second?"))
        agents = go_on(cloud, agents, tmp_path)
    assert "later" not in cloud.run("vpc", "list")

    # An emptied cluster: it knows no users. The name may be the same.
    cloud.run("store", "copy", cloud.operator_url, str(tmp_path / "latest.db"))
    (member,) = cloud.secured.cluster.members
    member.kill()
    shutil.rmtree(member.directory)
    cloud.secured.cluster.start(member)
    until(lambda: _serves(cloud))
    cloud.run("ca", "enable")
    cloud.run("store", "copy", str(tmp_path / "latest.db"), cloud.operator_url)
    with contextlib.closing(Service(cloud)):
        go_on(cloud, agents, tmp_path)


def _serves(cloud: Cloud) -> bool:
    with contextlib.suppress(StoreError), contextlib.closing(cloud.secured.access()) as access:
        access.users()
        return True
    return False
