"""expect.yaml: the resulting cells, and all errors at once."""

from __future__ import annotations

import pytest

from netorch.errors import LabError, SpecError
from netorch.lab.expect import Echo, Party, Verdict, json_schema, load_expectations, matrix
from netorch.lab.services import INTERNET as INTERNET_END
from netorch.lab.services import FlowDecl, Place, targets_of

TEXT = """
islands:
  acme: [acme/a, acme/b]
  globex: [globex/a]
unreachable: [192.0.2.1, "2001:db8::1"]
"""

INTERNET = "internet: {node: web, addresses: [198.18.0.80]}"


def party(name: str, *addresses: str) -> Party:
    return Party(name=name, netns=name, addresses=addresses)


PARTIES = [party("acme/a", "10.0.0.4", "fd00::4"), party("acme/b", "10.0.0.5"), party("globex/a", "10.0.0.4", "fd00::4")]


def test_inside_an_island_all_is_expected_and_between_islands_nothing() -> None:
    cells = matrix(load_expectations("e.yaml", TEXT), PARTIES)
    expected = {(cell.source, cell.destination) for cell in cells if cell.expected}
    assert expected == {("acme/a", "acme/b"), ("acme/b", "acme/a")}
    assert {("acme/a", "globex/a"), ("globex/a", "acme/b")} < {(c.source, c.destination) for c in cells if not c.expected}


def test_a_family_is_tried_where_both_have_it() -> None:
    cells = matrix(load_expectations("e.yaml", TEXT), PARTIES)
    assert [c.address for c in cells if (c.source, c.destination) == ("acme/a", "globex/a")] == ["10.0.0.4", "fd00::4"]
    assert [c.address for c in cells if (c.source, c.destination) == ("acme/a", "acme/b")] == ["10.0.0.5"]
    assert [c.address for c in cells if (c.source, c.destination) == ("acme/b", "")] == ["192.0.2.1"]


def test_a_flow_from_the_internet_is_tried_at_the_public_address() -> None:
    web = Place("i-1", ("10.0.0.4", "2001:db8::4"), {"10.0.0.4": "203.0.113.5", "2001:db8::4": "2001:db8::4"})
    server = Place("web", ("198.18.0.80",), {})
    into, out = (FlowDecl(source=a, destination=b, service="tcp/443") for a, b in ((INTERNET_END, "x/y"), ("x/y", INTERNET_END)))
    assert targets_of(into, server, web) == [("10.0.0.4", "203.0.113.5")]
    assert targets_of(out, web, server) == [("198.18.0.80", "198.18.0.80")]
    assert targets_of(into, Place("web", ("198.18.0.80", "2001:db8:9::1"), {}), web)[1] == ("2001:db8::4", "2001:db8::4")
    with pytest.raises(LabError, match="x/y has no public address"):
        targets_of(into, server, Place("i-1", ("10.0.0.4",), {}))


def test_an_editor_gets_a_schema_of_the_file() -> None:
    defined = str(json_schema())
    assert all(f"'{field}'" in defined for field in ("islands", "internet", "node", "flows", "closed"))


def test_somebody_elses_reply_is_not_taken_for_the_destination() -> None:
    cell = Echo(source="acme/b", destination="globex/a", address="10.0.0.4", expected=False)
    verdict = Verdict(echo=cell, observed=False, replied=True, heard_by=("acme/a",))
    assert verdict.ok
    assert verdict.text == "heard by acme/a, answered"


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("islands: {}", "$.islands", "no island is declared"),
        ("islands: {a: [web]}", "$.islands.a[0]", "'web' is not the name of an instance; write <vpc>/<instance>"),
        ("islands: {a: [x/y], b: [x/y]}", "$.islands.b[0]", "x/y is already on island a"),
        ("islands: {a: [x/y]}\nunreachable: [host]", "$.unreachable[0]", "'host' is not an IP address"),
        ("islands: {a: [x/y]}\nreach: all", "$.reach", "there is no field 'reach' here"),
        ("unreachable: []", "$.islands", "the field is missing"),
        (
            "islands: {a: [x/y]}\nflows: [{source: x/y, destination: x/z, service: tcp/1}]",
            "$.flows[0].destination",
            "on no island",
        ),
        (
            "islands: {a: [x/y]}\nflows: [{source: x/y, destination: x/y, at: nowhere, service: tcp/1}]",
            "$.flows[0].at",
            "169.254.169.253",
        ),
        (
            "islands: {a: [x/y]}\nflows: [{source: x/y, at: 1.2.3.4, service: udp/1}]",
            "$.flows[0].destination",
            "no destination",
        ),
        ("islands: {a: [x/y]}\nflows: [{source: x/y, destination: x/y, service: tcp}]", "$.flows[0].service", "write tcp/PORT"),
        (
            "islands: {a: [x/y]}\nflows: [{source: x/y, destination: x/y, service: tcp/70000}]",
            "$.flows[0].service",
            "not a service",
        ),
        ("islands: {a: [x/y]}\nflows: [{source: x/y, destination: x/y}]", "$.flows[0].service", "the field is missing"),
        ("islands: {a: x/y}", "$.islands.a", ""),
        (
            "islands: {a: [x/y]}\nflows: [{source: internet, destination: x/y, service: tcp/1}]",
            "$.flows[0].source",
            "the file does not name the node that is the internet; add it, e.g. internet: {node: web",
        ),
        (
            f"islands: {{a: [x/y]}}\n{INTERNET}\nflows: [{{source: internet, destination: internet, service: tcp/1}}]",
            "$.flows[0].destination",
            "both ends are on the internet; name an instance",
        ),
        ("islands: {a: [x/y]}\ninternet: {node: web}", "$.internet.addresses", "the field is missing"),
        ("islands: {a: [x/y]}\ninternet: {node: web, addresses: []}", "$.internet.addresses", "write one"),
        ("islands: {a: [x/y]}\ninternet: {node: web, addresses: [web]}", "$.internet.addresses[0]", "'web' is not an IP address"),
        (
            "islands: {a: [x/y]}\ninternet: {node: web, addresses: [192.0.2.1, 192.0.2.2]}",
            "$.internet.addresses",
            "or one of each IP version",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, path: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_expectations("e.yaml", text)
    found = {problem.path: f"{problem.what}; {problem.fix}" for problem in caught.value.problems}
    assert said in found[path]
