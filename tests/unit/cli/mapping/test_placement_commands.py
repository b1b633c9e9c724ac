"""Hosts that are drained and emptied, and instances that name such a host or run elsewhere."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from netorch.model.status import AgentStatus
from netorch.records import keys
from netorch.records.codec import encode
from netorch.store.base import Put
from netorch.store.sqlite.store import SqliteStore
from tests.unit.cli.conftest import CLOUD, Run


@pytest.fixture
def cloud(quick: Run) -> Run:
    """Return a command line for the file's cloud; no agent has ever run."""
    quick("apply", "--yes", "--no-wait")
    return quick


def test_a_drain_waits_until_a_hypervisor_is_empty(cloud: Run) -> None:
    late = cloud("host", "drain", "--wait", "--timeout", "0", "hv1", code=1).stderr
    assert "hv1: carries 2 interface(s) after 0 s; `netorch host evacuate hv1` moves them. The hosts stay drained" in late
    assert "carries 2 interface(s); `netorch host evacuate hv1` moves them" in cloud("status", code=2).stdout
    left = cloud("host", "evacuate", "hv1").stdout.splitlines()
    assert [re.sub(r"i-[0-9a-f]+", "ID", line) for line in left] == [
        "acme/acme/web-1 (ID): goes to hv2",
        "globex/globex/web-1 (ID): goes to hv2",
    ]
    assert cloud("host", "drain", "--wait", "hv1").stdout == "hv1: is drained\nhv1: carries no interfaces\n"
    assert "carries no interfaces, so its machine may be turned off" in cloud("status", code=2).stdout
    assert cloud("host", "undrain", "hv1").stdout == "hv1: accepts instances again\n"


def test_an_evacuation_names_a_host_that_gets_no_instances(cloud: Run, tmp_path: Path) -> None:
    cloud("host", "create", "hv3", "--underlay", "192.0.2.3")
    with closing(SqliteStore(tmp_path / "db")) as store:
        status = AgentStatus(version="1", pid=1, started_at=0.0)
        store.txn([], [Put(keys.agent_status("hv2"), encode(status))])  # it has run, and has no lease
    said = cloud("host", "evacuate", "hv1", "--to", "hv2", "--to", "hv3")
    assert said.stderr == "hv2: gets no instances: its agent does not run\n"
    assert [line.partition(": ")[2] for line in said.stdout.splitlines()] == ["goes to hv3"] * 2


def test_a_file_that_names_a_drained_host_is_told_where(cloud: Run, tmp_path: Path) -> None:
    cloud("host", "evacuate", "hv2")
    said = cloud("apply", "--yes", "--no-wait", code=1).stderr
    line = next(number for number, text in enumerate(CLOUD.splitlines(), 1) if "web-2" in text)
    assert (
        f"IncorrectState: vpc.yaml:{line}: $.vpcs[0].instances[1].host: instance 'web-2' in VPC acme: host hv2: is drained"
        in said
    )
    assert (
        "remove `host: hv2` to leave the choice to netorch, choose another host, or reopen it: netorch host undrain hv2" in said
    )
    (tmp_path / "vpc.yaml").write_text(CLOUD.replace("{name: web-2, host: hv2}", "{name: web-2}"))
    assert "No changes" in cloud("apply", "--yes", "--no-wait").stdout, "it stays where it is"
    (tmp_path / "new.json").write_text('{"instances": [{"name": "solo", "host": "hv2"}]}')
    said = cloud("plan", "-f", "new.json", code=1).stderr
    assert "IncorrectState: new.json: $.instances[0].host: instance 'solo' in VPC default: host hv2: is drained" in said


def test_a_command_in_an_instance_of_another_machine_names_its_host(cloud: Run) -> None:
    said = cloud("instance", "exec", "acme/acme/web-1", "--", "true", code=1).stderr
    assert "its namespace i-" in said
    assert "is not on this machine; it runs on hv1: run this there, as root" in said


def test_an_update_without_a_change_says_what_to_give(cloud: Run) -> None:
    assert "Nothing to change; give an option, e.g. --capacity NUMBER" in cloud("host", "update", "hv1", code=2).stderr
