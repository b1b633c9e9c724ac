"""`netorch history`, with commands that were really run."""

from __future__ import annotations

import json
import os
import pwd
import socket

import pytest

from tests.unit.cli.conftest import Run


def rows(run: Run, *arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run("history", *arguments, "-o", "json").stdout)
    return found


def test_commands_are_kept_with_who_gave_them(quick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    quick("apply", "-f", "vpc.yaml", "--yes", "--no-wait")
    user = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setenv("SUDO_USER", "ann")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    quick("subnet", "create", "more", "--vpc", "acme/acme", "--cidr", "10.44.13.0/24")
    quick("subnet", "create", "tried", "--vpc", "acme/acme", "--cidr", "10.44.14.0/24", "--dry-run")
    machine = socket.gethostname()
    first = rows(quick)[0]
    assert (first["by"], first["command"]) == (
        f"ann@{machine}",
        "netorch subnet create more --vpc acme/acme --cidr 10.44.13.0/24",
    )
    assert {row["by"] for row in rows(quick)[1:]} == {f"{user}@{machine}"}
    assert not any("tried" in str(row["command"]) for row in rows(quick))
    assert [row["command"] for row in rows(quick, "globex/globex")] == ["netorch apply -f vpc.yaml --yes --no-wait"]
    assert rows(quick, "-n", "1") == [first]
    assert "store check" not in quick("store", "check").stdout
    quick("--owner", "acme", "history", code=1)

    # These commands change nothing in a VPC.
    for noun, *words in (
        ("zone", "corp.example", "--vpc", "acme/acme"),
        ("dhcp-options", "set", "--domain-name", "corp.example"),
    ):
        quick("--owner", "acme", noun, "create", *words)
        quick("--owner", "acme", noun, "tag", words[0], "team=net")
        assert f"{noun} tag" in str(rows(quick)[0]["command"])

    vpc = json.loads(quick("vpc", "show", "globex/globex", "-o", "json").stdout)
    quick("destroy", "globex/globex", "--yes")
    assert str(rows(quick, vpc["id"])[0]["command"]) == "netorch destroy globex/globex --yes"


def test_only_roots_sudo_user_counts(quick: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other user may set the variable, and so write under another one's name."""
    monkeypatch.setenv("SUDO_USER", "ann")
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    quick("apply", "-f", "vpc.yaml", "--yes", "--no-wait")
    assert {row["by"] for row in rows(quick)} == {f"nobody@{socket.gethostname()}"}
