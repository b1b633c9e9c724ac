"""Every wrong file in this folder, with the exact text of its errors.

NETORCH_UPDATE_GOLDEN=1 rewrites the .err files: read the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netorch.errors import SpecError
from netorch.spec import load_cloud

HERE = Path(__file__).parent
CASES = sorted(path.name for path in HERE.iterdir() if path.suffix in (".yaml", ".json"))


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_file_is_answered_with_these_words(case: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_cloud(case, (HERE / case).read_text())
    golden = (HERE / case).with_suffix(".err")
    if os.environ.get("NETORCH_UPDATE_GOLDEN"):
        golden.write_text(f"{caught.value}\n")
    assert f"{caught.value}\n" == golden.read_text()


def test_no_golden_file_is_left_without_its_case() -> None:
    assert {path.stem for path in HERE.glob("*.err")} == {Path(case).stem for case in CASES}


@pytest.mark.parametrize("golden", sorted(path.name for path in HERE.glob("*.err")))
def test_every_line_says_where_what_and_what_to_do(golden: str) -> None:
    for line in (HERE / golden).read_text().splitlines():
        where, path, rest = line.split(": ", 2)
        assert where.startswith(Path(golden).stem)
        assert path.startswith("$")
        assert "; " in rest
