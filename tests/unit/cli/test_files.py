"""Resources made from a file: which file may adopt them, and which deletes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.cli.conftest import Run

ONE = "vpcs: [{name: p, cidrs: [10.0.0.0/16]}]"

TWO = "vpcs: [{name: p, cidrs: [10.0.0.0/16]}, {name: q, cidrs: [10.0.0.0/16]}]"


def test_a_renamed_file_says_what_it_takes_over_and_what_it_leaves_behind(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vpc.yaml").write_text(TWO)
    run("apply")
    (tmp_path / "vpc.yaml").rename(tmp_path / "cloud.yaml").write_text(ONE)
    shown = run("plan", "-f", "cloud.yaml", code=2).stdout
    assert f"source {tmp_path}/vpc.yaml -> {tmp_path}/cloud.yaml" in shown
    note = next(line for line in shown.splitlines() if "default/q" in line)
    assert f"{tmp_path}/vpc.yaml, which no longer exists" in note
    run(*note.partition("delete it: netorch ")[2].split())
    assert "default/q" not in run("plan", "-f", "cloud.yaml", code=2).stdout
    run("apply", "-f", "cloud.yaml")
    assert "No changes" in run("plan", "-f", "cloud.yaml").stdout


def test_a_pipe_owns_nothing_unless_it_has_a_name(run: Run, tmp_path: Path) -> None:
    for text, left in ((TWO, {"p", "q"}), (f"name: prod\n{TWO}", {"p"})):
        for content in (text, text.replace(TWO, ONE)):
            done = subprocess.run(
                [sys.executable, "-m", "netorch", "apply", "-f", "/dev/stdin"],
                cwd=tmp_path,
                env={"NETORCH_STORE": str(tmp_path / f"{len(text)}.db"), "PATH": "/usr/bin:/bin"},
                input=content,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            assert ("it never deletes anything" in done.stdout) == (text == TWO)
        listed = json.loads(run("--store", str(tmp_path / f"{len(text)}.db"), "vpc", "list", "-o", "json").stdout)
        assert {vpc["name"] for vpc in listed} == left
        assert not any("pipe" in tag for vpc in listed for tag in vpc["tags"].values())


def test_destroy_deletes_what_a_file_made_and_nothing_else(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vpc.yaml").write_text(
        f"name: prod\nhosts: [{{name: hv1, underlay: 192.0.2.1}}]\n{TWO}\ninstances: [{{name: i}}]"
    )
    run("vpc", "create", "q", "--cidr", "10.0.0.0/16")
    run("apply", "--no-wait")
    (tmp_path / "vpc.yaml").rename(tmp_path / "moved.yaml")
    shown = run("destroy", "-f", "moved.yaml").stdout
    assert "default/p" in shown
    assert "default/default/i" in shown
    assert {vpc["name"] for vpc in json.loads(run("vpc", "list", "-o", "json").stdout)} == {"q", "default"}
    assert "Nothing to delete" in run("destroy", "-f", "moved.yaml").stdout
    run("destroy", "q", "default")
    assert json.loads(run("vpc", "list", "-o", "json").stdout) == []
    assert "hv1" in run("host", "list").stdout
    assert "InvalidVpcID.NotFound" in run("destroy", "q", code=1).stderr
    run("destroy", code=64)
