"""`netorch vpn config`, `import` and `doctor`, before any agent has reported a tunnel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.spec.vpn_config.test_imported import TEXT

VPN = "acme/acme/home"
KEY = "first.key_of.a.test"


def keys(directory: Path, *texts: str) -> list[str]:
    """Return options with files that contain these keys."""
    words = []
    for number, text in enumerate(texts):
        path = directory / f"key{number}"
        path.write_text(f"{text}\n")
        words += ["--psk-file", str(path)]
    return words


def test_the_configuration_has_the_keys_that_are_given(busy: Run, tmp_path: Path) -> None:
    done = busy("vpn", "config", VPN, *keys(tmp_path, KEY, "second.key_of.a.test"))
    assert f'secret = "{KEY}"' in done.stdout
    assert 'secret = "second.key_of.a.test"' in done.stdout
    assert done.stderr == ""


def test_a_key_that_is_not_given_is_told_to_be_missing(busy: Run, tmp_path: Path) -> None:
    done = busy("vpn", "config", VPN, *keys(tmp_path, KEY))
    assert 'secret = "<pre-shared key of tunnel 2>"' in done.stdout
    assert "warning: the pre-shared key of tunnel 2 is sealed and cannot be shown" in done.stderr
    assert KEY not in done.stderr
    assert "of tunnels 1 and 2 is" in busy("vpn", "config", VPN, "--format", "json").stderr


def test_each_format_is_printed(busy: Run) -> None:
    assert json.loads(busy("vpn", "config", VPN, "--format", "json").stdout)["Options"]["StaticRoutesOnly"] is True
    assert busy("vpn", "config", VPN, "--format", "aws-xml").stdout.startswith("<?xml")
    for form in ("bird", "frr"):  # the connection has static routes
        assert "InvalidParameterCombination" in busy("vpn", "config", VPN, "--format", form, code=1).stderr


def test_what_is_no_key_is_refused_and_not_shown(busy: Run, tmp_path: Path) -> None:
    for texts in (["short!"], [KEY, KEY, KEY]):
        done = busy("vpn", "config", VPN, *keys(tmp_path, *texts), code=2)
        assert texts[0] not in done.stderr + done.stdout


def test_another_owner_knows_nothing_of_it(busy: Run) -> None:
    for verb in ("config", "doctor"):
        assert "InvalidVpnConnectionID.NotFound" in busy("--owner", "globex", "vpn", verb, VPN, code=1).stderr


@pytest.mark.parametrize("output", ["table", "json"])
def test_an_import_shows_what_the_file_says_but_no_key(busy: Run, tmp_path: Path, output: str) -> None:
    (tmp_path / "aws.xml").write_text(TEXT)
    said = busy("vpn", "import", str(tmp_path / "aws.xml"), "--dry-run", "-o", output).stdout
    for part in ("203.0.113.80", "64512", "198.18.9.2", "169.254.80.18", "aes128-sha1-modp1024", "vpn-0f72da61c0f80742a"):
        assert part in said
    assert "key_of" not in said


def test_an_import_needs_a_vpc_and_a_name(busy: Run, tmp_path: Path) -> None:
    (tmp_path / "aws.xml").write_text(TEXT)
    assert "--vpc VPC --name NAME" in busy("vpn", "import", str(tmp_path / "aws.xml"), "--vpc", "acme", code=2).stderr


def test_a_wrong_file_is_told_with_its_place(busy: Run, tmp_path: Path) -> None:
    (tmp_path / "aws.xml").write_text(TEXT.replace("group2", "group1"))
    said = busy("vpn", "import", str(tmp_path / "aws.xml"), "--dry-run", code=65).stderr
    assert "/vpn_connection/ipsec_tunnel[2]/ike/perfect_forward_secrecy: 'group1' is not known" in said
    assert "the file cannot be read" in busy("vpn", "import", "nowhere.xml", "--dry-run", code=65).stderr


def test_the_doctor_says_what_is_wrong(busy: Run) -> None:
    said = busy("vpn", "doctor", VPN, code=2).stdout
    assert "tunnel 1: " in said
    assert "tunnel 2: " in said
    found = json.loads(busy("vpn", "doctor", VPN, "-o", "json", code=2).stdout)
    assert {finding["word"] for finding in found} <= {"no_agent", "nothing_said", "edges_lost", "no_edge"}
