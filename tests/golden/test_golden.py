"""Each case: a small cloud as YAML, each host's objects as text, and each host's operations from one step to the next.

NETORCH_UPDATE_GOLDEN=1 rewrites the texts; read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import yaml

from netorch.plan.diff import diff
from netorch.plan.explain import explain, explain_state
from tests.golden.cases import EniCase, SubnetCase
from tests.golden.clouds import CloudCase, VpcCase, compiled, kept

T = TypeVar("T")

CASES = sorted(Path(__file__).parent.glob("*.yaml"))


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change: interfaces, subnets and route tables by name, pairs of peers, hosts that do not answer.

    Public addresses are by VNI.
    """

    name: str
    enis: dict[str, EniCase] = {}
    subnets: dict[str, SubnetCase] = {}
    route_tables: dict[str, dict[str, str]] = {}
    peerings: tuple[tuple[int, int], ...] | None = None
    silent: tuple[str, ...] | None = None
    public: dict[int, dict[str, str]] = {}


class Case(CloudCase, frozen=True, forbid_unknown_fields=True):
    """A cloud and the changes to it."""

    steps: tuple[Step, ...] = ()


def after(cloud: CloudCase, step: Step) -> CloudCase:
    """Return the cloud after a step."""
    vpcs = tuple(changed(vpc, step) for vpc in cloud.vpcs)
    return msgspec.structs.replace(
        cloud,
        vpcs=vpcs,
        peerings=cloud.peerings if step.peerings is None else step.peerings,
        silent=cloud.silent if step.silent is None else step.silent,
    )


def changed(vpc: VpcCase, step: Step) -> VpcCase:
    """Return the VPC with the step's changes."""
    changes: dict[str, dict[str, Any]] = {
        "enis": vpc.enis | _of(vpc.enis, step.enis),
        "subnets": vpc.subnets | _of(vpc.subnets, step.subnets),
        "route_tables": vpc.route_tables | _of(vpc.route_tables, step.route_tables),
        "public": step.public.get(vpc.vni, vpc.public),
    }
    return msgspec.structs.replace(vpc, **changes)


def _of(known: dict[str, T], changed: dict[str, T]) -> dict[str, T]:
    return {name: value for name, value in changed.items() if name in known}


def story(case: Case) -> str:
    """Return every host's objects at the beginning and its operations at each step."""
    parts = [f"=== {host} ===\n{explain_state(compiled(case, host))}" for host in case.hosts]
    before: CloudCase = case
    for step in case.steps:
        now = after(before, step)
        for host in case.hosts:
            ops = diff(compiled(now, host), compiled(before, host), kept(now, host))
            parts.append(f"=== {host}: {step.name} ===\n{explain(ops)}")
        before = now
    return "\n".join(parts)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_compiled_state_is_as_written(path: Path) -> None:
    case = msgspec.convert(yaml.safe_load(path.read_text()), Case)
    text = story(case)
    golden = path.with_suffix(".txt")
    if os.environ.get("NETORCH_UPDATE_GOLDEN") == "1":
        golden.write_text(text)
    assert text == golden.read_text()
