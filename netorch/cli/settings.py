"""A machine's settings: /etc/netorch/netorch.toml, overridden by environment variables, overridden by command options.

The file is parsed strictly: an unknown key or value is an error, because a store or directory that is silently ignored
would be noticed too late.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec

from netorch.errors import Problem, SpecError

CONFIG: Final = "NETORCH_CONFIG"  # the path of another file
DEFAULT_FILE: Final = "/etc/netorch/netorch.toml"
_KEY = re.compile(r"[ \t]*([A-Za-z0-9_-]+)[ \t]*=")
_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")  # the end of tomllib's error texts
# The names of TOML types in error texts.
_TYPES: Final[tuple[tuple[type, str], ...]] = ((bool, "a truth value"), (int, "a number"), (float, "a number"), (list, "a list"))


class Setting(msgspec.Struct, frozen=True):
    """One setting: its key in the file, its default, and its description."""

    name: str
    default: Callable[[], str]
    help: str
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """Return the environment variable that overrides the file."""
        return f"NETORCH_{self.name.upper()}"


def _text(value: str) -> Callable[[], str]:
    return lambda: value


DEFAULT_STORE: Final = "/var/lib/netorch/netorch.db"
SETTINGS: Final[dict[str, Setting]] = {
    setting.name: setting
    for setting in (
        Setting("store", _text(DEFAULT_STORE), "The store."),
        Setting("host", socket.gethostname, "The name of this host in the store."),
        Setting("state_dir", _text("/var/lib/netorch"), "Directory of the agent's lock, snapshot and key."),
        Setting("flow_log_dir", _text("/var/log/netorch/flow-logs"), "Directory of flow logs, one subdirectory per owner."),
        Setting("log_format", _text("text"), "Log format of the agent: text, or JSON.", ("text", "json")),
        Setting("metrics", _text("127.0.0.1:9469"), "Where the agent serves Prometheus metrics: HOST:PORT, unix:PATH, or off."),
    )
}


class Found(msgspec.Struct, frozen=True):
    """The value of a setting and its origin: a variable, a line of the file, or the default."""

    value: str
    origin: str


class Settings:
    """The settings of a file."""

    def __init__(self, path: str, values: Mapping[str, str], lines: Mapping[str, int]) -> None:
        self._path, self._values, self._lines = path, values, lines

    def find(self, name: str, environ: Mapping[str, str] = os.environ) -> Found:
        """Return a setting: the environment's, else the file's, else the default. An empty variable is ignored."""
        setting = SETTINGS[name]
        if value := environ.get(setting.variable):
            return Found(value, f"the variable {setting.variable}")
        if name in self._values:
            return Found(self._values[name], f"{self._path}:{self._lines[name]}")
        return Found(setting.default(), "the default")


def machine() -> Settings:
    """Return the settings of this machine. Raises SpecError: the file is invalid, or a named file is missing."""
    named = os.environ.get(CONFIG)
    return _load(named or DEFAULT_FILE, bool(named))


def default_of(name: str) -> Callable[[], str]:
    """Return the default of an option if neither the option nor its variable is set."""
    return lambda: machine().find(name, {}).value


@functools.cache
def _load(path: str, must_exist: bool) -> Settings:
    try:
        text = Path(path).read_bytes().decode()
    except FileNotFoundError as error:
        if not must_exist:
            return Settings(path, {}, {})
        raise _failure(path, 0, "the file is missing", f"create it, or name another file in {CONFIG}") from error
    except OSError as error:
        raise _failure(path, 0, f"the file cannot be read: {error.strerror}", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise _failure(path, 0, f"the file is not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    return parse(path, text)


def parse(path: str, text: str) -> Settings:
    """Return the settings in a text; `path` is its name. Raises SpecError with all problems."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        if "overwrite" in str(error) and (problem := _set_twice(text, line)):
            raise SpecError(path, [problem]) from error
        raise _failure(path, line, f"this is not TOML: {_AT_LINE.sub('', str(error))}", 'write NAME = "VALUE"') from error
    lines = {name: _line_of(text, name) for name in values}
    problems = [problem for name, value in values.items() for problem in _problems(name, value, lines[name])]
    if problems:
        raise SpecError(path, problems)
    return Settings(path, values, lines)


def _problems(name: str, value: object, line: int) -> Iterator[Problem]:
    setting = SETTINGS.get(name)
    if setting is None:
        close = get_close_matches(name.lower().replace("-", "_"), SETTINGS, n=1)
        fix = f"did you mean {close[0]}?" if close else f"remove it; the settings are {', '.join(SETTINGS)}"
        yield Problem(path=name, what="unknown setting", fix=fix, line=line)
    elif not isinstance(value, str):
        found = next((words for kind, words in _TYPES if isinstance(value, kind)), "a table or a date")
        yield Problem(path=name, what=f"found {found} where text is needed", fix=f'write {name} = "..."', line=line)
    elif setting.choices and value not in setting.choices:
        fix = f"choose one of {', '.join(setting.choices)}"
        yield Problem(path=name, what=f"{value!r} is not one of its values", fix=fix, line=line)
    elif not value:
        yield Problem(path=name, what="the text is empty", fix="write a value, or remove the line", line=line)


def _set_twice(text: str, line: int) -> Problem | None:
    """Return the problem of a line that sets a key again. tomllib's text does not name the key."""
    keys = [found[1] if (found := _KEY.match(each)) else "" for each in text.splitlines()[:line]]
    key = keys.pop()
    if not key or key not in keys:
        return None
    what = f"is set twice: in line {keys.index(key) + 1} and in line {line}"
    return Problem(path=key, what=what, fix="remove one of the lines", line=line)


def _line_of(text: str, name: str) -> int:
    """Return the line where a top-level key ends: the first after which it is parsed. tomllib does not give lines."""
    lines = text.splitlines(keepends=True)
    for number in range(1, len(lines) + 1):
        if name in _head("".join(lines[:number])):
            return number
    return 0


def _head(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}


def _failure(path: str, line: int, what: str, fix: str) -> SpecError:
    return SpecError(path, [Problem(path="settings", what=what, fix=fix, line=line)])
