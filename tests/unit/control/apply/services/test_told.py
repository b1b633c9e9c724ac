"""User data and metadata options of instances in files."""

from __future__ import annotations

import base64

import msgspec
import pytest

from netorch.control.actions.services.metadata import modify_metadata_options
from netorch.control.apply.cloud import apply_cloud, plan_cloud
from netorch.control.views.export import export_cloud
from netorch.errors import SpecError
from netorch.model.cloud import Cloud, InstanceDecl, SubnetDecl
from netorch.model.eni import Instance
from netorch.model.services.declared import MetadataOptionsDecl, Switch, Tokens
from netorch.model.services.metadata import USER_DATA_MOST, MetadataOptions
from netorch.records.caller import Caller
from netorch.spec import load_cloud, to_yaml
from netorch.store.base import Store
from tests.unit.control.apply.clouds import HOSTS, apply, records, small

SCRIPT = "#cloud-config\npassword: café\n"
OPTIONS = MetadataOptionsDecl(http_tokens=Tokens.OPTIONAL, http_put_response_hop_limit=2, instance_metadata_tags=Switch.ENABLED)


def declared(**fields: object) -> Cloud:
    told = msgspec.structs.replace(InstanceDecl(name="a"), **fields)
    return Cloud(hosts=HOSTS, vpcs=[small("web", subnets=[SubnetDecl(name="s", cidr="10.0.0.0/24")], instances=[told])])


def stored(store: Store) -> Instance:
    (found,) = records(store, "default").each(Instance)
    return found


@pytest.mark.parametrize("fields", [{"user_data": SCRIPT}, {"user_data_base64": base64.b64encode(b"\x1f\x8b\0").decode()}])
def test_what_a_file_says_comes_back_from_an_export(store: Store, operator: Caller, fields: dict[str, str]) -> None:
    plan = apply(store, operator, declared(metadata_options=OPTIONS, **fields))
    (added,) = [change for change in plan.changes if change.kind == "instance"]
    told = {item.field: item.after for item in added.differences}
    assert told["metadata_options"] == "http_put_response_hop_limit 2 http_tokens optional instance_metadata_tags enabled"
    assert told["user_data"] in ("30 bytes", "3 bytes")
    assert stored(store).metadata == MetadataOptions(
        http_tokens=False, http_put_response_hop_limit=2, instance_metadata_tags=True
    )
    text = to_yaml(export_cloud(store))
    again = load_cloud("vpc.yaml", text)
    (decl,) = again.vpcs[0].instances
    assert {"user_data": decl.user_data, "user_data_base64": decl.user_data_base64} == {
        "user_data": "", "user_data_base64": "", **fields
    }  # fmt: skip
    assert plan_cloud(store, operator, again).changes == ()
    plain = [str(change) for change in plan.changes]
    assert "password" not in "".join(plain)


def test_options_change_in_place_and_go_back_to_the_defaults(store: Store, operator: Caller) -> None:
    apply(store, operator, declared())
    modify_metadata_options(store, operator, stored(store).id, {"http_tokens": False})
    (change,) = apply(store, operator, declared()).changes
    assert [(item.field, item.before, item.after) for item in change.differences] == [("http_tokens", "optional", "required")]
    (change,) = apply(store, operator, declared(metadata_options=OPTIONS)).changes
    assert change.action.value == "change"


def test_other_user_data_are_another_instance_and_none_in_the_file_leave_what_there_are(store: Store, operator: Caller) -> None:
    apply(store, operator, declared(user_data="old!"))
    first = stored(store)
    apply(store, operator, declared())
    assert stored(store) == first
    (change,) = apply(store, operator, declared(user_data="new!")).changes
    assert (change.action.value, change.ends) == ("replace", 1)
    assert ("user_data", "4 bytes", "4 bytes, others") in [(one.field, one.before, one.after) for one in change.differences]
    other = stored(store)
    assert (other.id != first.id, base64.b64decode(other.user_data)) == (True, b"new!")
    plan = plan_cloud(store, operator, declared(mac="06:00:00:00:00:01"))  # recreated for another reason
    apply_cloud(store, plan)
    assert base64.b64decode(stored(store).user_data) == b"new!"


@pytest.mark.parametrize(
    ("line", "what", "fix"),
    [
        ("metadata_options: {http_tokens: needed}", "'needed' is none of required, optional", "choose one of them"),
        ("metadata_options: {http_put_response_hop_limit: 65}", "the hop limit 65 is out of range", "choose 1 to 64"),
        ("metadata_options: {hop_limit: 1}", "'hop_limit'", "http_put_response_hop_limit"),
        ("user_data_base64: '???'", "the user data are not base64", "encode them"),
        ("user_data: a, user_data_base64: YQ==", "user_data is also set", "keep one of the two"),
        (f"user_data: {'x' * (USER_DATA_MOST + 1)}", f"have {USER_DATA_MOST + 1} bytes", f"within {USER_DATA_MOST}"),
    ],
)
def test_what_cannot_be_told_is_refused_with_its_place(line: str, what: str, fix: str) -> None:
    text = f"""
vpcs:
- name: web
  cidrs: [10.0.0.0/16]
  subnets: [{{name: s, cidr: 10.0.0.0/24}}]
  instances:
  - {{name: a}}
  - {{name: b, {line}}}
"""
    with pytest.raises(SpecError) as caught:
        load_cloud("vpc.yaml", text)
    (problem,) = caught.value.problems
    assert (problem.line, what in problem.what, fix in problem.fix) == (8, True, True), problem
