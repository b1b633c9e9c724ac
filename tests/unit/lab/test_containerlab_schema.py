"""The examples, tested against the rules of containerlab's published schema and documentation that they depend on.

Source: https://containerlab.dev/manual/topo-def-file/ and schemas/clab.schema.json there; only the fields that our files use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from netorch.lab.containerlab.file import load_topology

EXAMPLES = sorted((Path(__file__).parents[3] / "containerlab").glob("*/*.clab.yml"))
_TEXTS = {"type": "object", "patternProperties": {".+": {"type": ["string", "number"]}}}
_NODE: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "kind": {"enum": ["linux", "bridge"]},
        "group": {"type": "string"},
        "image": {"type": "string"},
        "labels": _TEXTS,
        "env": _TEXTS,
        "sysctls": _TEXTS,
        "cmd": {"type": "string"},
        "entrypoint": {"type": "string"},
        "exec": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "binds": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string"}},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "topology"],
    "properties": {
        "name": {"type": "string"},
        "topology": {
            "type": "object",
            "required": ["nodes"],
            "properties": {
                "defaults": _NODE,
                "kinds": {"type": "object", "properties": {"linux": _NODE}},
                "groups": {"type": "object", "patternProperties": {".*": _NODE}},
                "nodes": {"type": "object", "patternProperties": {".*": _NODE}},
                "links": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["endpoints"],
                        "properties": {
                            "mtu": {"type": "integer"},
                            "endpoints": {
                                "type": "array",
                                "minItems": 2,
                                "uniqueItems": True,
                                "items": {"type": "string", "pattern": r"^\S+:\S+$"},
                            },
                        },
                    },
                },
            },
        },
    },
}


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_an_example_is_valid_for_containerlab(file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.parent.name)
def test_an_example_needs_nothing_but_what_both_give(file: Path) -> None:
    topology = load_topology(file)
    assert all(node.image for node in topology.nodes)
    # containerlab runs exec without a shell, so pipes and variables would be plain arguments
    assert not [argv for node in topology.nodes for argv in node.exec if any(word in ("|", "&&", ";", ">") for word in argv)]
    # the lab ignores only Docker's image and bind mounts
    assert all(path.endswith((".image", ".binds")) for path in topology.ignored)
