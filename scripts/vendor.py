"""Copy netorch's Python dependencies into a directory: `python scripts/vendor.py SITE_PACKAGES`.

The script takes the packages as they are installed here from requirements.lock, whose hashes pip has checked: netorch's
dependencies and their dependencies, without packages that only tests use.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(name: str) -> dict[str, Distribution]:
    """Return the distributions that a requirement needs, its own included, by normalized name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()  # names with one extra each, "" without: a later requirement may add an extra
    waiting = [Requirement(name)]
    while waiting:
        wanted = waiting.pop()
        known = found.setdefault(canonicalize_name(wanted.name), distribution(wanted.name))
        for extra in ("", *wanted.extras):
            if (canonicalize_name(wanted.name), extra) in seen:
                continue
            seen.add((canonicalize_name(wanted.name), extra))
            requirements = (Requirement(text) for text in known.requires or ())
            waiting += [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": extra})]
    return found


def copy(found: Distribution, target: Path) -> None:
    """Copy the files of a distribution, except programs and bytecode."""
    for file in found.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        destination = target / file
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.locate(), destination)


if __name__ == "__main__":
    for name, found in sorted(needed("netorch").items()):
        if name != "netorch":  # netorch itself is installed from source
            copy(found, Path(sys.argv[1]))
