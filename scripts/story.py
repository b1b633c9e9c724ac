"""Play a story with real commands: each act shows a command line and checks its result.

    python scripts/story.py [STORY]     a name (scripts/stories/NAME.yaml) or a file; without one, the quickstart
    python scripts/story.py --list

A story is data. Each act of a step is one command line, run without a shell. It holds if the exit status and the output are as
the act requires. A named group of an output pattern, `(?P<vni>[0-9]+)`, is a value that later commands use as `{vni}`.
The exit status is 1 if an act did not hold.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

STORIES: Final = Path(__file__).parent / "stories"
RETRY_S: Final = 0.3


class Act(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One command."""

    run: str
    exits: tuple[int, ...] = (0,)  # the accepted exit statuses
    says: tuple[str, ...] = ()  # patterns that must each match somewhere in the output
    expect: str = ""  # what the act proves, in a sentence; printed when it holds
    shows: str = ""  # pattern of the lines to show; empty: all of them
    quiet: bool = False  # a look-up: show neither the command nor its output
    within_s: float = 0.0  # repeat the command until it holds, for this long; show only its last output
    needed: bool = False  # end the story here if the act does not hold
    meanwhile: tuple[Act, ...] = ()  # acts to play while the command runs
    begun: str = ""  # pattern of the line after which they start; empty: at once


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One chapter: a heading, a text for the reader, the commands."""

    title: str
    acts: tuple[Act, ...]
    text: str = ""


class Story(msgspec.Struct, forbid_unknown_fields=True):
    """A story and its clean-up commands, which run before and after it, and may fail."""

    title: str
    steps: tuple[Step, ...]
    clean_up: tuple[str, ...] = ()
    farewell: str = ""


class Teller:
    """Plays one story; keeps the values that were found and the acts that did not hold."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.held = 0
        self.failures: list[str] = []

    def tell(self, story: Story) -> None:
        """Play a story, and clean up whatever happens."""
        clean_up(story)
        try:
            for number, step in enumerate(story.steps, 1):
                self.say(f"\n== {number}. {step.title}", "1")
                if step.text:
                    self.say(step.text.rstrip())
                if not all(self.play(act) or not act.needed for act in step.acts):
                    break
        finally:
            clean_up(story)

    def play(self, act: Act) -> bool:
        """Play one act; return whether it holds."""
        try:
            command = fill(act.run, self._values)
        except KeyError as missing:
            return self._check(act, f"{missing.args[0]} was not found by an earlier command")
        if not act.quiet:
            self.say(f"$ {command}" + (" &" if act.meanwhile else ""), "36")
        end = time.monotonic() + act.within_s
        while True:
            problem, values, said = self._attempt(act, command)
            if not problem or time.monotonic() >= end:
                break
            time.sleep(RETRY_S)
        self._values |= values
        if act.within_s:
            _show(act, said)
        return self._check(act, problem)

    def _attempt(self, act: Act, command: str) -> tuple[str, dict[str, str], str]:
        """Run a command once; return what is wrong with the result, if anything, the values found, and the whole output."""
        with subprocess.Popen(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            output = process.stdout or ()
            lines = iter(output) if act.within_s else _shown(act, output)
            before = list(_until(act.begun, lines)) if act.begun else []
            for other in act.meanwhile:
                self.play(other)
            said = "".join([*before, *lines])
        status = process.returncode
        escaped = {name: re.escape(value) for name, value in self._values.items()}
        found = [re.search(fill(pattern, escaped), said, re.MULTILINE) for pattern in act.says]
        values = {name: value for match in found if match for name, value in match.groupdict().items()}
        missing = [pattern for pattern, match in zip(act.says, found, strict=True) if not match]
        if status not in act.exits:
            problem = f"exit status {status} instead of {' or '.join(map(str, act.exits))}"
        else:
            problem = f"its output does not match {missing[0]!r}" if missing else ""
        if problem and act.quiet:
            problem += f"; {command}: {said.strip()}"
        return problem, values, said

    def _check(self, act: Act, problem: str) -> bool:
        what = act.expect or act.run
        if problem:
            self.failures.append(f"{what} ({problem})")
            self.say(f"  NOT AS EXPECTED: {what}: {problem}", "31")
        elif act.expect:
            self.held += 1
            self.say(f"  as expected: {what}", "32")
        return not problem

    def say(self, text: str, colour: str = "") -> None:
        """Print a text, in a colour (an SGR parameter, ECMA-48) on a terminal."""
        print(f"\033[{colour}m{text}\033[0m" if self._colours and colour else text, flush=True)


def _shown(act: Act, lines: Iterable[str]) -> Iterator[str]:
    """Yield all lines of a command's output; print those that the act shows, as they come."""
    for line in lines:
        _show(act, line)
        yield line


def _show(act: Act, text: str) -> None:
    """Print the lines of a text that an act shows."""
    for line in text.splitlines(keepends=True):
        if not act.quiet and re.search(act.shows, line.rstrip("\n")):
            print(line, end="", flush=True)


def _until(pattern: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines up to and including the first that matches, or all of them."""
    for line in lines:
        yield line
        if re.search(pattern, line):
            break


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its `{names}` replaced. Raises KeyError for an unknown name."""
    return re.sub(r"\{([a-z]\w*)\}", lambda match: values[match[1]], text)


def clean_up(story: Story) -> None:
    for command in story.clean_up:
        subprocess.run(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def read(path: Path) -> Story:
    """Read a story. Raises msgspec.ValidationError for anything that is not a story."""
    return msgspec.yaml.decode(path.read_bytes(), type=Story)


def main() -> int:
    """Play the chosen story; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Tell a story with real packets.")
    parser.add_argument("story", nargs="?", default="quickstart", help="a name, or a file (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="list the stories")
    arguments = parser.parse_args()
    if arguments.list:
        for path in sorted(STORIES.glob("*.yaml")):
            print(f"{path.stem:<12} {read(path).title}")
        return 0
    path = STORIES / f"{arguments.story}.yaml"
    path = path if path.exists() else Path(arguments.story)
    if not path.is_file():
        parser.error(f"there is no story {arguments.story}; scripts/demo --list lists them")
    story, teller, start = read(path), Teller(), time.monotonic()
    teller.say(story.title, "1")
    teller.tell(story)
    seconds = time.monotonic() - start
    teller.say(f"\n== Done in {seconds:.0f} s: {teller.held} expectations met, {len(teller.failures)} not met", "1")
    for failure in teller.failures:
        teller.say(f"  not as expected: {failure}", "31")
    teller.say(story.farewell.rstrip())
    return 1 if teller.failures else 0


if __name__ == "__main__":
    sys.exit(main())
