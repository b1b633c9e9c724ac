"""Bodies of DeleteObjects: the permissions they need, and bodies refused because two servers may parse them differently."""

from __future__ import annotations

import pytest

from netorch.model.iam.s3 import deletion as deletions
from netorch.model.iam.s3.deletion import MOST_BODY_BYTES, MOST_ELEMENTS, MOST_KEYS, read_deletion
from netorch.model.iam.s3.refusal import Refusal
from netorch.model.iam.s3.request import Asked, S3Request, read_request
from netorch.model.iam.s3.uri import Service


def deletion(body: str, headers: tuple[tuple[str, str], ...] = ()) -> list[str] | Refusal:
    request = S3Request(method="POST", target="/buc?delete", headers=[("Host", "s3.internal"), *headers])
    asked = read_request(Service(names=("s3.internal",)), request)
    assert isinstance(asked, Asked)
    assert asked.names_keys
    found = read_deletion(asked, body.encode())
    if isinstance(found, Refusal):
        return found
    return [f"{need.action.removeprefix('s3:')} {need.resource.removeprefix('arn:aws:s3:::')}" for need in found.needs]


def test_many_are_deleted_by_what_the_body_names() -> None:
    body = """<?xml version="1.0" encoding="UTF-8"?>
    <Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>
      <Object><Key>a/b&amp;c</Key></Object><Object><Key>d</Key><VersionId>7</VersionId></Object>
    </Delete>"""
    assert deletion(body) == ["DeleteObject buc/a/b&c", "DeleteObjectVersion buc/d"]
    bypassing = deletion(body, headers=(("x-amz-bypass-governance-retention", "true"),))
    assert isinstance(bypassing, list)
    assert "BypassGovernanceRetention buc/d" in bypassing
    assert len(bypassing) == 4


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<Delete/>",
        "<Delete><Object/></Delete>",
        "<Delete><Object><Key/></Object></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object><Key>a<!-- x -->b</Key></Object></Delete>",
        "<Delete><Object><Key>a<b/></Key></Object></Delete>",
        "<Delete><Object><Key> a</Key></Object></Delete>",
        "<Delete><Object><Key>../a</Key></Object></Delete>",
        "<Delete><Object><Key>a//b</Key></Object></Delete>",
        "<Delete><Object><Key>%61</Key></Object></Delete>",
        "<Delete><Object><Key>a</Key>x</Object></Delete>",
        "<Delete><Object x='1'><Key>a</Key></Object></Delete>",
        "<Delete><Object><key>a</key></Object></Delete>",
        "<Delete><Objects><Key>a</Key></Objects></Delete>",
        "<Delete xmlns='other'><Object><Key>a</Key></Object></Delete>",
        "<!DOCTYPE d [<!ENTITY e 'a'>]><Delete><Object><Key>&e;</Key></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object></Delete><Delete/>",
        "<Delete>" + "<Object><Key>a</Key></Object>" * (MOST_KEYS + 1) + "</Delete>",
        "<Delete>" + "<Quiet/>" * (MOST_ELEMENTS + 1) + "<Object><Key>a</Key></Object></Delete>",
        *(
            f"<?xml version='{version}' encoding='{encoding}'?><Delete><Object><Key>a</Key></Object></Delete>"
            for version, encoding in (("1.0", "iso-8859-1"), ("1.0", "UTF-16"), ("1.0", "utf-7"), ("1.1", "UTF-8"))
        ),
    ],
)
def test_bodies_that_may_be_read_in_two_ways(body: str) -> None:
    found = deletion(body)
    assert isinstance(found, Refusal), found


@pytest.mark.parametrize("declaration", ["<?xml version='1.0'?>", "<?xml version='1.0' encoding='utf-8' standalone='yes'?>"])
def test_a_declaration_of_what_it_is_anyway(declaration: str) -> None:
    assert deletion(f"{declaration}<Delete><Object><Key>\u00e9</Key></Object></Delete>") == ["DeleteObject buc/\u00e9"]


def test_a_key_of_many_escapes_comes_in_few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = []
    characters = deletions._Reader._characters

    def counted(reader: deletions._Reader, text: str) -> None:
        pieces.append(text)
        characters(reader, text)

    monkeypatch.setattr(deletions._Reader, "_characters", counted)
    escapes = "&amp;" * (MOST_BODY_BYTES // 5 - 20)
    found = deletion(f"<Delete><Object><Key>{escapes}</Key></Object></Delete>")
    assert isinstance(found, Refusal)
    assert found.code == "KeyTooLongError"
    assert len(pieces) < 1_000
