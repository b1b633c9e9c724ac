"""Cost of reading the seed's configuration: 2,000 VPCs of 4 subnets, dual stack, with tags; every check included.

Ratios are to json.loads of the same content, timed in turns with it, so that other load on the machine affects both.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable

import msgspec
import yaml
import yaml_rs

from netorch.model.check.cloud import check_cloud
from netorch.model.cloud import Cloud, SubnetDecl, VpcDecl
from netorch.spec import load_cloud, to_yaml

ROUNDS = 9
GOAL = 15.0
STRETCH = 8.0


def seed_cloud(vpcs: int = 2_000, distinct: bool = False) -> Cloud:
    """Return the seed's configuration; with `distinct`, no two VPCs share an IPv4 CIDR, so that each CIDR is parsed."""
    return Cloud(vpcs=[_vpc(i, f"10.{i // 16 % 256}.{i % 16 * 16}.0/20" if distinct else "10.44.0.0/20") for i in range(vpcs)])


def _vpc(i: int, cidr: str) -> VpcDecl:
    first, second, third, _ = cidr.split(".")
    six = f"fd00:{i >> 8:x}:{i & 255:x}:"
    subnets = [
        SubnetDecl(
            name=name,
            cidr=f"{first}.{second}.{int(third) + 4 * j}.0/22",
            ipv6_cidr=f"{six}{j:x}::/64",
            tags={"tier": name, "team": f"team-{(4 * i + j) % 31}"},
        )
        for j, name in enumerate(("web", "app", "db", "mgmt"))
    ]
    return VpcDecl(
        name=f"vpc-{i:05d}",
        owner=f"customer-{i % 500:03d}",
        cidrs=[cidr],
        ipv6_cidrs=[f"{six}:/56"],
        vni=5_000 + i,
        tags={"env": "prod" if i % 2 else "test", "cost-centre": f"cc-{i % 97}"},
        subnets=subnets,
    )


def measure(actions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Return the best time of each action in seconds, taken in turns."""
    best = dict.fromkeys(actions, float("inf"))
    for _ in range(rounds):
        for name, action in actions.items():
            gc.collect()
            begin = time.perf_counter()
            action()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def report(title: str, cloud: Cloud) -> float:
    """Print the figures of one cloud; return the time of loading its JSON as a ratio to json.loads."""
    as_json = msgspec.json.encode(cloud).decode()
    as_yaml = to_yaml(cloud)
    print(f"{title}: {len(as_json) / 1e6:.2f} MB of JSON, {len(as_yaml) / 1e6:.2f} MB and {as_yaml.count(chr(10))} lines of YAML")
    best = measure(
        {
            "json.loads": lambda: json.loads(as_json),
            "load_cloud, JSON": lambda: load_cloud("vpc.json", as_json),
            "load_cloud, YAML": lambda: load_cloud("vpc.yaml", as_yaml),
            "  thereof the YAML parser": lambda: yaml_rs.loads(as_yaml, parse_datetime=False),
            "  thereof check_cloud": lambda: check_cloud(cloud),
        }
    )
    base = best["json.loads"]
    for name, seconds in best.items():
        print(f"  {name:28} {seconds * 1e3:8.1f} ms {seconds / base:7.1f} x")
    return best["load_cloud, JSON"] / base


def main() -> int:
    """Print all figures; return 1 when the goal is missed."""
    cloud = seed_cloud()
    ratios = [
        report("2,000 VPCs with the same CIDRs", cloud),
        report("2,000 VPCs, all CIDRs distinct", seed_cloud(distinct=True)),
    ]
    as_yaml = to_yaml(cloud)
    slow = measure({"PyYAML's C loader": lambda: yaml.load(as_yaml, Loader=yaml.CSafeLoader)}, rounds=1)
    print(f"for comparison: PyYAML's C loader {slow.popitem()[1] * 1e3:.0f} ms")
    worst = max(ratios)
    verdict = "missed" if worst > GOAL else "met" if worst > STRETCH else "met, stretch too"
    print(f"JSON to checked cloud: {worst:.1f} x json.loads; goal {GOAL:.0f} x, stretch {STRETCH:.0f} x: {verdict}")
    return int(worst > GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
