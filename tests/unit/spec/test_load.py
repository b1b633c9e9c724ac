from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netorch.errors import SpecError
from netorch.model.check.outside import KnownHost
from netorch.model.cloud import Cloud
from netorch.model.eni import Role
from netorch.spec import load, load_cloud, to_yaml
from netorch.spec.node import Node
from netorch.spec.yamltree import read_yaml
from tests.unit.spec.clouds import clouds

GOOD = "vpcs:\n  - name: demo\n    cidrs: [10.0.0.0/16]\n"


def problems(text: str, name: str = "vpc.yaml") -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_cloud(name, text)
    return str(caught.value).splitlines()


def test_a_file_is_read_from_disk(tmp_path: Path) -> None:
    file = tmp_path / "vpc.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_cloud(file) == load_cloud("vpc.yaml", GOOD)


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory"), ("a\0b", "null byte")):
        with pytest.raises(SpecError, match=words):
            load_cloud(path)


def test_a_file_that_is_too_large_is_not_read_to_its_end() -> None:
    with pytest.raises(SpecError, match="larger than 64 MiB"):
        load_cloud("/dev/zero")


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "vpc.yaml"
    file.write_bytes(GOOD.encode() + b"    tags: {a: \xff}\n")
    with pytest.raises(SpecError, match=r"vpc.yaml:4: \$: the byte 0xff is not UTF-8; save the file as UTF-8"):
        load_cloud(file)
    assert problems(GOOD + "    tags: {a: b\0}") == ["vpc.yaml:4: $: the control character 0x00 is in the text; remove it"]
    assert problems(GOOD + "# \ud800") == ["vpc.yaml:4: $: half of a surrogate pair is here; remove it"]


def test_words_of_yaml_1_1_are_text() -> None:
    text = "vpcs:\n  - name: no\n    owner: on\n    cidrs: [10.0.0.0/16]\n"
    text += '    tags: {when: 2020-01-01, at: 12:30:45, y: yes, "<<": x}\n'
    (vpc,) = load_cloud("vpc.yaml", text).vpcs
    assert (vpc.name, vpc.owner, vpc.tags) == ("no", "on", {"when": "2020-01-01", "at": "12:30:45", "y": "yes", "<<": "x"})


def test_anchors_and_aliases_may_share_values() -> None:
    text = GOOD + "    tags: &all {env: prod}\n    subnets:\n      - {name: web, cidr: 10.0.1.0/24, tags: *all}\n"
    (vpc,) = load_cloud("vpc.yaml", text).vpcs
    assert vpc.subnets[0].tags == {"env": "prod"}


def test_exclamation_marks_are_tags_only_where_a_value_begins() -> None:
    text = GOOD + '    tags: {a: hello!, b: "! important"}  # !important\n'
    assert load_cloud("vpc.yaml", text).vpcs[0].tags == {"a": "hello!", "b": "! important"}


@pytest.mark.parametrize("nested", ["- ", "? ", "- ? "])
@pytest.mark.parametrize("around", [lambda deep: deep + "a", lambda deep: f"{GOOD}{deep}a", lambda deep: f"vpcs:\n{deep}"])
def test_nesting_that_overflows_a_recursive_parser_is_an_error(nested: str, around: Callable[[str], str]) -> None:
    assert problems(around(nested * 50_000))


@pytest.mark.parametrize("deep", ["[" * 100_000, "".join(" " * i + "a:\n" for i in range(2_000)), '{"a":' * 100_000])
@pytest.mark.parametrize("name", ["vpc.yaml", "vpc.json"])
def test_deep_nesting_is_an_error_in_any_style(deep: str, name: str) -> None:
    assert problems(deep, name)


def test_a_minified_file_is_one_long_line_and_fine() -> None:
    cloud = load_cloud("vpc.yaml", GOOD)
    many = msgspec.structs.replace(cloud, vpcs=[msgspec.structs.replace(cloud.vpcs[0], name=f"v{i}") for i in range(500)])
    text = msgspec.json.encode(many).decode()
    assert load_cloud("vpc.yaml", text) == load_cloud("vpc.json", text) == many


def test_needless_escapes_in_json_are_no_repeated_keys() -> None:
    text = '{"vpcs": [{"n\\u0061me": "demo", "cidrs": ["10.0.0.0\\/16"]}]}'
    assert load_cloud("vpc.json", text) == load_cloud("vpc.yaml", GOOD)
    (line,) = problems('{"vpcs": [{"n\\u0061me": "demo", "name": "demo", "cidrs": ["10.0.0.0/16"]}]}', "vpc.json")
    assert "occurs twice" in line


def test_numbers_too_long_to_print_are_refused() -> None:
    for name in ("vpc.yaml", "vpc.json"):
        for digits in (20, 4_000, 5_000):
            vpc = '{"name": "a", "cidrs": ["10.0.0.0/16"], "vni": ' + "9" * digits + "}"
            assert problems(f'{{"vpcs": [{vpc}, {vpc}]}}', name)


def test_problems_stand_in_the_order_of_the_file() -> None:
    lines = problems("vpcs:\n  - name: a/b\n    cidrs: [10.0.0.1/16]\n    colour: red\ninstances:\n  - {name: x, host: 5}\n")
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4", "6"]


@given(clouds())
def test_a_valid_cloud_loads_as_yaml_and_as_json(cloud: Cloud) -> None:
    assert load_cloud("vpc.yaml", to_yaml(cloud)) == cloud
    assert load_cloud("vpc.json", msgspec.json.encode(cloud).decode()) == cloud


@given(clouds())
def test_the_thorough_way_reads_what_the_quick_way_reads(cloud: Cloud) -> None:
    assert load._thorough("vpc.yaml", to_yaml(cloud), is_json=False) == cloud
    assert load._thorough("vpc.json", json.dumps(msgspec.to_builtins(cloud)), is_json=True) == cloud


@given(st.text(st.sampled_from("abn:-?[]{},&*!|>'\"%@#~ \t\n01.\\<=\u2028é\ufeff\r")))
def test_garbage_raises_nothing_but_spec_error(text: str) -> None:
    for name in ("vpc.yaml", "vpc.json"):
        try:
            load_cloud(name, text)
        except SpecError as error:
            assert error.problems  # noqa: PT017 - it is also right when nothing is raised


_leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["10.0.0.0/16", "10.0.1.0/24", "web"]),
)
_field = st.sampled_from(
    [*Cloud.__struct_fields__, "name", "cidrs", "cidr", "subnets", "tags", "underlay", "vni", "route_tables", "x"]
)
_garbage = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_field, inner, max_size=5), max_leaves=25
)


@given(st.dictionaries(_field, _garbage))
def test_values_in_the_wrong_places_raise_nothing_but_spec_error(values: dict[str, Any]) -> None:
    try:
        load_cloud("vpc.json", json.dumps(values))
    except SpecError as error:
        assert error.problems  # noqa: PT017 - it is also right when nothing is raised


@given(clouds(), st.data())
def test_a_value_that_breaks_a_rule_is_reported_where_it_stands(cloud: Cloud, data: st.DataObject) -> None:
    values = msgspec.to_builtins(cloud)
    places = list(_places(values, "$"))
    path, into, key, bad = data.draw(st.sampled_from(places)) if places else ("$.x", values, "x", 1)
    into[key] = bad
    with pytest.raises(SpecError) as caught:
        load_cloud("vpc.json", json.dumps(values))
    assert path in {problem.path for problem in caught.value.problems}


_BROKEN: dict[str, list[Any]] = {
    "name": ["", "a/b", "x" * 256, 7, None, "eni-0013880a1b2c3d4e5"],
    "owner": ["", "a b", ["acme"]],
    "underlay": ["224.0.0.1", "10.0.0", "2001:db8::1", 1.5],
    "role": ["router", 1],
    "cidrs": [[], "10.0.0.0/16", {"a": "b"}],
    "cidr": ["10.0.0.1/24", "203.0.113.0/24", "10.0.0.0/15", "", 10],
    "ipv6_cidr": ["fd00:ff::/64", "fd00:1::/63", "::/64"],
    "address": ["203.0.113.9", "::1", "10.0.0", True],
    "mac": ["01:00:00:00:00:00", "02:00"],
    "attachment": ["vm", 0],
    "vni": [1, 1 << 24, "5000", 5000.5, True],
    "tags": [["a"], "a", {f"k{i}": "" for i in range(51)}],
    "subnets": [{}, "web", 1],
}


def _broken(path: str, key: str) -> list[Any]:
    """Return invalid values of a field; an ACL's entry may have any CIDR without host bits, an elastic IP any address."""
    if path.endswith(".tags"):
        return []
    if key == "address" and ".elastic_ips[" in path:
        return ["::1", "10.0.0", True]
    if key == "cidr" and ".network_acls[" in path:
        return ["10.0.0.1/24", "", 10]
    return _BROKEN.get(key, [])


def _places(values: object, path: str) -> Iterator[tuple[str, Any, str, object]]:
    """Yield (path, container, key, bad value) for every field with known bad values; every mapping gets an unknown one."""
    if isinstance(values, dict):
        if not path.endswith(".tags"):
            yield f"{path}.surprise", values, "surprise", 1
        for key, value in values.items():
            for bad in _broken(path, str(key)):
                yield f"{path}.{key}", values, key, bad
            yield from _places(value, f"{path}.{key}")
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _places(value, f"{path}[{index}]")


# Plain scalars in the core schema of YAML 1.2 (section 10.3.2): their integer, or None for all others.
SCALARS: dict[str, int | None] = {
    "0": 0,
    "5000": 5000,
    "+5": 5,
    "-5": -5,
    "010": 10,
    "00": 0,
    "0o17": 15,
    "0x1f": 31,
    "0x1F": 31,
    **dict.fromkeys(("6_000", "1_", "_1", "0_7", "1__0", "-1_0", "0x1_f", "0o_7", "0b_1", "1e1_0", "1_0.5", "1._5")),
    **dict.fromkeys(("0b1", "0b11", "0B1", "0X1F", "0O7", "+0x1", "-0x1", "-0o7", "0b", "0x", "0o8", "0xG", "1L")),
    **dict.fromkeys(("1e3", "1.5", ".5", "5.", "-.inf", ".nan", "1:30", "190:20:30", "2020-01-01", "\u0663")),
    **dict.fromkeys(("yes", "no", "on", "off", "y", "true", "TRUE", "null", "~", "nUll", "<<", "=", "-", "+")),
}
CONTEXTS = ["k: {}\n", "k: {}", "l: [{}]\n", "l:\n- {}\n", "m: {{a: {}, b: 1}}\n", "- {}\n", "k:\n  {}\n", "k: {} # 6\n"]


@pytest.mark.parametrize("text", SCALARS)
def test_the_quick_and_the_thorough_way_read_one_grammar(text: str) -> None:
    for context in CONTEXTS:
        whole = context.format(text)
        node, problems = read_yaml(whole)
        quick = load._yaml_values(whole)
        assert quick is None or (not problems and node is not None and _alike(quick, _values(node))), whole
    node, _ = read_yaml(f"k: {text}\n")
    found = _values(node) if node is not None else None
    value = found["k"] if isinstance(found, dict) else None
    assert (value if isinstance(value, int) and not isinstance(value, bool) else None) == SCALARS[text]


@pytest.mark.parametrize(
    "text", ["|", "|-\n  x", "[|\n x]", "&a! 5", "\tx", "x\t", "'<<'", '"<<"', "!!int 5", "'6_000'", '"0b1"']
)
@pytest.mark.parametrize("context", [*CONTEXTS, "{}: v\n", "m: {{{}: v}}\n"])
def test_odd_ways_to_write_a_value_are_read_alike(context: str, text: str) -> None:
    whole = context.format(text)
    quick = load._yaml_values(whole)
    node, problems = read_yaml(whole)
    assert quick is None or (not problems and node is not None and _alike(quick, _values(node)))


def _alike(one: object, other: object) -> bool:
    """Return whether two values are equal; any two floats count as equal."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_alike(one[key], other[key]) for key in one)
    return type(one) is type(other) and (isinstance(one, float) or one == other)


def _values(node: Node) -> object:
    """Return a tree's values; floats keep only their type."""
    if isinstance(node.value, list):
        return [_values(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: _values(item) for key, item in node.value.items()}
    return node.value


def test_a_key_in_quotes_is_text_whatever_it_says() -> None:
    good = "vpcs: [{name: a, cidrs: [10.0.0.0/16], tags: {'<<': x, '6_000': y}}]"
    bad = good.replace("'<<'", "<<")
    assert load_cloud("a.yaml", good).vpcs[0].tags == {"<<": "x", "6_000": "y"}
    with pytest.raises(SpecError, match="the merge key << is not supported"):
        load_cloud("a.yaml", bad)
    for vni in ("6_000", "0b1001110001000", "0X1388"):
        with pytest.raises(SpecError, match="where a whole number is needed"):
            load_cloud("a.yaml", f"vpcs: [{{name: a, cidrs: [10.0.0.0/16], vni: {vni}}}]")


def test_unknown_hosts_are_reported_all_at_once_with_their_lines() -> None:
    lines = ["vpcs:", "- name: a", "  cidrs: [10.0.0.0/16]", "  subnets: [{name: s, cidr: 10.0.0.0/24}]", "  instances:"]
    lines += [f"  - {{name: i{n}, host: {host}}}" for n, host in enumerate(("hv1", "hv7", "edge", "hv8"))]
    text = "\n".join(lines)
    load_cloud("vpc.yaml", text)  # the hosts are unknown
    known = {"hv1": KnownHost(Role.HYPERVISOR), "edge": KnownHost(Role.EDGE)}
    with pytest.raises(SpecError) as caught:
        load_cloud("vpc.yaml", text, hosts=known)
    found = str(caught.value).splitlines()
    assert [line.partition(": $")[0] for line in found] == ["vpc.yaml:7", "vpc.yaml:8", "vpc.yaml:9"]
    assert "there is no host 'hv7'; choose one of hv1, or leave it out" in found[0]
    assert "has the role edge" in found[1]
    with pytest.raises(SpecError, match="netorch host create"):
        load_cloud("vpc.yaml", text, hosts={})
    assert load_cloud(
        "vpc.yaml", "hosts: [{name: hv7, underlay: 192.0.2.7}]\n" + text.replace("edge", "hv1").replace("hv8", "hv7"), hosts=known
    ).vpcs
