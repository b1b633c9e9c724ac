from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from netorch.model.cloud import Cloud
from netorch.spec import json_schema, load_cloud
from tests.unit.spec.clouds import clouds

ROOT = Path(__file__).parents[3]
VALIDATOR = Draft202012Validator(json_schema())
EXAMPLES = sorted(ROOT.glob("containerlab/*/vpc.yaml"))
SCHEMA_SEES = [
    "cidr_length",
    "cidr_family",
    "unknown_field",
    "missing_field",
    "wrong_types",
    "bad_names",
    "long_name",
    "mac",
    "tags",
    "vni",
    "too_many_cidrs",
    "unknown_choice",
    "top_level_is_a_list",
    "hosts",
    "edges",
    "public_addresses",
    "flow_logs",
    "peerings",
    "routes",
    "text_read_as_something_else",
]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_every_field_is_described() -> None:
    for name, definition in json_schema()["$defs"].items():
        assert definition["description"], name
        for field, schema in definition.get("properties", {}).items():
            assert schema.get("description"), f"{name}.{field}"


@given(clouds())
@settings(max_examples=30)
def test_valid_clouds_conform(cloud: Cloud) -> None:
    VALIDATOR.validate(msgspec.to_builtins(cloud))


@pytest.mark.parametrize(
    ("word", "conforms"), [("provided", "vpc"), ("provided-0", "subnet"), ("provided-01", ""), ("Provided", "")]
)
def test_ranges_out_of_pools_have_a_word_in_vpcs_and_numbers_in_subnets(word: str, conforms: str) -> None:
    vpc = {"name": "a", "cidrs": ["10.0.0.0/16"]}
    in_subnet = {**vpc, "subnets": [{"name": "s", "cidr": "10.0.0.0/24", "ipv6_cidr": word}]}
    found = {"vpc": {**vpc, "ipv6_cidrs": [word]}, "subnet": in_subnet}
    assert [place for place, decl in found.items() if VALIDATOR.is_valid({"vpcs": [decl]})] == [conforms] * bool(conforms)


@pytest.mark.parametrize("example", EXAMPLES, ids=[path.parent.name for path in EXAMPLES])
def test_the_examples_conform_and_load(example: Path) -> None:
    VALIDATOR.validate(msgspec.to_builtins(load_cloud(example)))


@pytest.mark.parametrize("case", SCHEMA_SEES)
def test_what_can_be_seen_without_thinking_does_not_conform(case: str) -> None:
    text = (ROOT / "tests/errors" / f"{case}.yaml").read_text()
    assert not VALIDATOR.is_valid(yaml.load(text, Loader=yaml.CSafeLoader))


@pytest.mark.parametrize("values", [{"vpc": []}, {"vpcs": [{"name": "a", "cidrs": ["10.0.0.0/16"], "x": 1}]}, {"hosts": [{}]}])
def test_unknown_and_missing_fields_do_not_conform(values: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(values)
