"""Man pages: one per command, generated from `--help`, and always the same."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest

from netorch.cli.words import COMMANDS
from tests.unit.cli.whole_tree.tree import leaves

SCRIPT = Path(__file__).parents[4] / "scripts/manpages.py"


@pytest.fixture(scope="module")
def manpages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manpages", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(manpages: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("man")
    manpages.write(directory)
    return {path.stem: path.read_text() for path in directory.iterdir()}


def test_each_command_has_a_place_that_names_its_options(pages: dict[str, str]) -> None:
    assert pages.keys() == {"netorch", *(f"netorch-{name}" for name in COMMANDS)}
    for words, command in leaves():
        text = pages[f"netorch-{words.split()[0]}"].replace("\\-", "-")
        place = text.partition(f"\n.B netorch {words}\n")[2].partition('\n.SH "NETORCH')[0]
        assert place, words
        shown = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
        assert [name for option in shown for name in option.opts if name not in place] == [], words


def test_the_same_commands_make_the_same_pages(manpages: ModuleType, pages: dict[str, str], tmp_path: Path) -> None:
    manpages.write(tmp_path)
    assert {path.stem: path.read_text() for path in tmp_path.iterdir()} == pages


def test_no_text_is_taken_for_a_request(manpages: ModuleType) -> None:
    assert manpages.escaped(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert manpages.escaped("a\\nb-c") == "a\\enb\\-c"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed here")
def test_groff_has_nothing_to_say_about_the_pages(pages: dict[str, str]) -> None:
    done = subprocess.run(
        ["groff", "-ww", "-man", "-Tutf8", "-Kutf8"], input="".join(pages.values()), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "NETORCH-VPC(1)" in done.stdout
