"""EC2's filters: names, wildcards, escapes; all filters must match, each by at least one of its values."""

from __future__ import annotations

from typing import Any

import pytest

from netorch.control.views.filters import matching, parse
from tests.unit.control.conftest import refused

ROWS: list[dict[str, Any]] = [
    {"id": "subnet-1", "name": "web", "tags": {"env": "prod", "a*b": "x"}, "available_addresses": 251, "main": True},
    {"id": "subnet-2", "name": "Web-2", "tags": {"env": "staging"}, "available_addresses": 25, "main": False},
    {
        "id": "subnet-3",
        "name": "a*b",
        "tags": {},
        "groups": ["web", "db"],
        "ingress": [{"peer": "sg-lb"}, {"peer": "10.0.0.0/8"}],
    },
    {"id": "subnet-4", "name": "", "tags": {"env": ""}, "route": None},
    {"id": "subnet-5", "name": "x,y\\z", "tags": {"Env": "prod"}},
]
FIELDS = {field for row in ROWS for field in row} - {"tags"}

CASES = [
    (["name=web"], "1"),
    (["name=WEB"], ""),
    (["name=web,Web-2"], "12"),
    (["name=*eb*"], "12"),
    (["name=?eb"], "1"),
    (["name=?eb*"], "12"),
    (["name=???"], "13"),
    ([r"name=a\*b"], "3"),
    (["name=a*b"], "3"),
    ([r"name=x\,y\\z"], "5"),
    (["name=x,y"], ""),
    (["name=x?y*"], "5"),
    (["name=*"], "12345"),
    (["name="], "4"),
    (["name=w.b"], ""),
    (["tag:env=prod"], "1"),
    (["tag:env=*"], "124"),
    (["tag:env="], "4"),
    (["tag:env=prod,stag*"], "12"),
    (["tag:a*b=x"], "1"),
    (["tag-key=env"], "124"),
    (["tag-key=?nv"], "1245"),
    ([r"tag-key=a\*b"], "1"),
    (["tag:env=prod", "name=Web*"], ""),
    (["tag:env=*", "available-addresses=25*"], "12"),
    (["available_addresses=251"], "1"),
    (["main=true"], "1"),
    (["main=false"], "2"),
    (["main=yes"], "1"),
    (["main=no"], "2"),
    (["groups=db"], "3"),
    (["ingress.peer=sg-*"], "3"),
    (["ingress.peer=0.0.0.0/0"], ""),
    (["route="], "12345"),
    (["id=subnet-[12]"], ""),
    ([], "12345"),
]


@pytest.mark.parametrize(("texts", "kept"), CASES, ids=lambda value: str(value))
def test_a_list_keeps_what_matches(texts: list[str], kept: str) -> None:
    found = matching(ROWS, [parse(text, FIELDS) for text in texts])
    assert "".join(row["id"][-1] for row in found) == kept


def test_a_filter_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with refused("InvalidParameterValue", match=r"no filter 'colour'; choose one of tag:KEY, tag-key, available-addresses"):
        parse("colour=red", FIELDS)
    with refused("InvalidParameterValue", match="write name=value"):
        parse("name", FIELDS)
