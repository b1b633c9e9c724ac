"""Every kind of resource can be tagged and untagged later, and listed by EC2's filters."""

from __future__ import annotations

import json

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.whole_tree.tree import TAGGED


def tags(run: Run, kind: str, name: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(run(*kind.split(), "show", name, "-o", "json").stdout)["tags"]
    return {key: value for key, value in found.items() if not key.startswith("netorch:")}


@pytest.mark.parametrize("kind", TAGGED)
def test_tags_come_one_by_one_and_go(busy: Run, kind: str) -> None:
    name = TAGGED[kind]
    assert tags(busy, kind, name) == {"colour": "red"}
    busy(*kind.split(), "tag", name, "env=prod", "colour=blue")
    assert tags(busy, kind, name) == {"colour": "blue", "env": "prod"}
    busy(*kind.split(), "untag", name, "env=staging", "nothing")
    assert tags(busy, kind, name) == {"colour": "blue", "env": "prod"}
    busy(*kind.split(), "untag", name, "env=prod", "colour")
    assert tags(busy, kind, name) == {}
    busy(*kind.split(), "set-tags", name, "one=1")
    busy(*kind.split(), "set-tags", name)
    assert tags(busy, kind, name) == {}


@pytest.mark.parametrize("kind", TAGGED)
def test_a_list_is_filtered_by_tags_and_fields(busy: Run, kind: str) -> None:
    path, bare = TAGGED[kind], TAGGED[kind].rpartition("/")[2]

    def found(*filters: str) -> list[str]:
        options = [word for text in filters for word in ("--filter", text)]
        return busy(*kind.split(), "list", "-o", "name", *options).stdout.split()

    assert found("tag:colour=red") == [path]
    assert found("tag:colour=r?d", f"name={bare[:2]}*") == [path]
    assert found("tag-key=col*") == [path]
    assert found("tag:colour=blue") == []
    assert found("tag:colour=blue,red", "name=nothing") == []
    assert path in found(f"name=x,{bare}")
    assert "there is no filter 'nonsense'" in busy(*kind.split(), "list", "--filter", "nonsense=1", code=1).stderr


def test_every_field_of_json_filters(busy: Run) -> None:
    for kind in TAGGED:
        for row in json.loads(busy(*kind.split(), "list", "-o", "json").stdout):
            for field, value in row.items():
                if isinstance(value, str | int | bool) and field != "tags":
                    text = str(value).lower() if isinstance(value, bool) else str(value).replace("\\", "\\\\").replace(",", "\\,")
                    kept = json.loads(
                        busy(*kind.split(), "list", "-o", "json", "--filter", f"{field.replace('_', '-')}={text}").stdout
                    )
                    assert row in kept


def test_fifty_tags_are_enough(busy: Run) -> None:
    busy("vpc", "tag", "acme/acme", *(f"key-{number}=x" for number in range(49)))
    assert "TagLimitExceeded" in busy("vpc", "tag", "acme/acme", "more=x", code=1).stderr
    busy("vpc", "tag", "acme/acme", "key-1=y")
    assert "InvalidParameterValue" in busy("sg", "tag", "acme/acme/web", "aws:x=y", code=1).stderr


def test_a_file_still_owns_what_was_tagged(busy: Run) -> None:
    busy("vpc", "tag", "acme/acme", "a=b")
    busy("vpc", "untag", "acme/acme", "netorch:source", "colour", "a")
    found = json.loads(busy("vpc", "show", "acme/acme", "-o", "json").stdout)["tags"]
    assert list(found) == ["netorch:source"]
