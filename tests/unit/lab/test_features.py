"""A kernel's features: the script that probes them, and how its output is read."""

from __future__ import annotations

import subprocess

import pytest

from netorch.drivers.nft.chains import PRIORITIES
from netorch.errors import LabError
from netorch.lab.features import PROBES as ALL
from netorch.lab.features import Feature, Probe, missing, probe_features, probe_script, read_report
from netorch.lab.session import Way, choose_way
from netorch.state.nft import FLOW_ADD, FLOWTABLE_SPEC
from policy.tables.offload import CHECKED_PRIORITY

PROBES = (
    Probe(name="good", command="true", why_needed="a"),
    Probe(name="bad", command="echo 'RTNETLINK: Unknown\tdevice' >&2; echo type; false", why_needed="b", what_to_do="c"),
    Probe(name="after bad", command="printf '%s' \"it's\" >/dev/null", why_needed="d"),
)


def feature(name: str, present: bool) -> Feature:
    return Feature(name=name, present=present, why_needed="", what_to_do="install it")


def test_each_probe_is_told_of_with_what_it_said() -> None:
    report = subprocess.run(["sh", "-c", probe_script(PROBES)], capture_output=True, text=True, check=True).stdout
    good, bad, after = read_report(report, PROBES)
    assert (good.present, good.detail) == (True, "")
    assert (bad.present, bad.detail, bad.what_to_do) == (False, "RTNETLINK: Unknown device type", "c")
    assert after.present


def test_what_the_data_plane_loads_is_probed() -> None:
    """A host without one of these forwards nothing, so a lab must not choose its kernel, and `doctor` must name it."""
    rules = {probe.name: probe.command for probe in ALL if probe.name.startswith("nft ")}
    flowtable = rules["nft flowtable"]
    assert FLOWTABLE_SPEC in flowtable
    assert f"{FLOW_ADD} @" in flowtable
    assert f"priority {PRIORITIES['inet']}" in flowtable
    assert f"meta priority {CHECKED_PRIORITY}" in flowtable
    assert f"meta priority set {CHECKED_PRIORITY}" in rules["nft netdev"]
    absent = {feature.name for feature in missing(read_report("nft flowtable\t1\tNot supported\n"))}
    assert "nft flowtable" in absent


def test_a_probe_that_never_ran_counts_as_absent() -> None:
    features = read_report("good\t0\t\n", PROBES)
    assert [feature.name for feature in missing(features)] == ["bad", "after bad"]
    assert features[1].detail == "the test did not run"


@pytest.mark.parametrize(("root", "way"), [(True, Way.NATIVE), (False, Way.USERNS)])
def test_a_kernel_that_has_everything_is_used_itself(root: bool, way: Way) -> None:
    assert choose_way([feature("vrf", True)], root=root, kernel=lambda: None) is way


@pytest.mark.parametrize("root", [True, False])
def test_a_kernel_without_vrf_is_replaced_by_the_lab_kernel(root: bool) -> None:
    assert choose_way([feature("vrf", False)], root=root, kernel=lambda: None) is Way.KERNEL


def test_what_only_edges_need_keeps_no_lab_away() -> None:
    bird = Feature(name="command bird", present=False, why_needed="", what_to_do="install it", only_edges=True)
    assert choose_way([bird, feature("vrf", True)], root=True, kernel=lambda: None) is Way.NATIVE


def test_a_kernel_that_lacks_what_edges_need_is_replaced_for_a_lab() -> None:
    esp = Feature(name="ESP", present=False, why_needed="", what_to_do="", only_edges=True)
    assert choose_way([esp, feature("vrf", True)], root=True, kernel=lambda: None) is Way.KERNEL


def test_only_the_probes_of_edges_are_theirs() -> None:
    edges = Probe(name="edges", command="false", why_needed="", only_edges=True)
    assert [each.only_edges for each in read_report("", (*PROBES, edges))] == [False, False, False, True]


def test_bird_is_asked_for_by_its_package() -> None:
    found = {each.name: each for each in probe_features(which=lambda _tool: None)}["command bird"]
    assert found.only_edges
    assert "bird2" in found.what_to_do


def test_without_vrf_and_lab_kernel_both_are_named() -> None:
    def none() -> None:
        raise LabError("built once by scripts/kernel")

    with pytest.raises(LabError, match=r"lacks vrf.*scripts/kernel"):
        choose_way([feature("vrf", False), feature("veth", True)], root=True, kernel=none)


def test_a_missing_tool_is_no_reason_to_boot_a_kernel() -> None:
    with pytest.raises(LabError, match="command nft is missing: install it"):
        choose_way([feature("command nft", False), feature("nft inet", False)], root=True, kernel=lambda: None)
