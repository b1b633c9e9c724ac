"""Tell a story with real commands: what is shown, the command as one types it, and what must be true of it.

    python scripts/story.py [STORY]     a name (scripts/stories/NAME.yaml) or a file; without one, the quickstart
    python scripts/story.py --list

A story is data. Each act of a step is one command line, run without a shell. It holds if the command exits as it should and its
output says all that it should; a named group of such a pattern, `(?P<vni>[0-9]+)`, is a value that later commands use as `{vni}`.
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
    exits: tuple[int, ...] = (0,)  # the statuses that are right
    says: tuple[str, ...] = ()  # patterns, each of which the output must match somewhere
    expect: str = ""  # what it proves, in a sentence; told when it is so
    shows: str = ""  # the pattern of the lines that are shown; all of them by default
    quiet: bool = False  # a command that only looks something up: neither it nor its output is shown
    within_s: float = 0.0  # run it again until it holds, for this long; only its last output is shown
    needed: bool = False  # the story ends here when it does not hold
    meanwhile: tuple[Act, ...] = ()  # acts that take place while the command runs
    begun: str = ""  # the pattern of the line after which they do; at once by default


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One chapter: a heading, what the reader should know, the commands."""

    title: str
    acts: tuple[Act, ...]
    text: str = ""


class Story(msgspec.Struct, forbid_unknown_fields=True):
    """A story, and the commands that clean up: they run before and after it, and may fail."""

    title: str
    steps: tuple[Step, ...]
    clean_up: tuple[str, ...] = ()
    farewell: str = ""


class Teller:
    """Tells one story, and remembers what was found and what did not hold."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.held = 0
        self.failures: list[str] = []

    def tell(self, story: Story) -> None:
        """Tell a story, and clean up whatever happens."""
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
        """Carry one act out; return whether it holds."""
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
        """Run a command once; return what is wrong with how it ended, the values that it told, and all that it said."""
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
            problem = f"it exited with {status} instead of {' or '.join(map(str, act.exits))}"
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
    """Yield all lines of a command's output, and print those that are shown, as they come."""
    for line in lines:
        _show(act, line)
        yield line


def _show(act: Act, text: str) -> None:
    """Print those lines of a text that an act shows."""
    for line in text.splitlines(keepends=True):
        if not act.quiet and re.search(act.shows, line.rstrip("\n")):
            print(line, end="", flush=True)


def _until(pattern: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines up to the first one that matches, or all of them."""
    for line in lines:
        yield line
        if re.search(pattern, line):
            break


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a text with its `{names}` replaced. Raises KeyError for a value that nothing has found."""
    return re.sub(r"\{([a-z]\w*)\}", lambda match: values[match[1]], text)


def clean_up(story: Story) -> None:
    for command in story.clean_up:
        subprocess.run(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def read(path: Path) -> Story:
    """Read a story. Raises msgspec.ValidationError for what no story has."""
    return msgspec.yaml.decode(path.read_bytes(), type=Story)


def main() -> int:
    """Tell the story that was asked for; return the exit status."""
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
        parser.error(f"no story called {arguments.story}; scripts/demo --list names them")
    story, teller, start = read(path), Teller(), time.monotonic()
    teller.say(story.title, "1")
    teller.tell(story)
    seconds = time.monotonic() - start
    teller.say(f"\n== Done in {seconds:.0f} s: {teller.held} expectations held, {len(teller.failures)} did not", "1")
    for failure in teller.failures:
        teller.say(f"  not as expected: {failure}", "31")
    teller.say(story.farewell.rstrip())
    return 1 if teller.failures else 0


if __name__ == "__main__":
    sys.exit(main())
