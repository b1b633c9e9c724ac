"""Removes secrets from texts that leave the machine. Every piece of a report passes through this module."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"
_REST: Final = r"[\w-]{0,60}"  # of a name; without a bound, a long text of many words takes minutes
_NAMES: Final = rf"{_REST}(?:user_data|secret|psk|passw|passphrase|token|sealed|private_key|privatekey|credential){_REST}"
_PATTERNS: Final = (
    # a field of JSON with a string value
    (re.compile(rf'("{_NAMES}"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE), rf'\1"{HIDDEN}"'),
    # NAME=VALUE, NAME: VALUE, and NAME "VALUE" in configurations and logs; not the name of a file
    (re.compile(rf"\b((?!{_REST}_file\b){_NAMES}\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s,;]+)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"\b({_NAMES}\s+)(?:'[^']*'|\"[^\"]*\")", re.IGNORECASE), rf"\1{HIDDEN}"),
    # the user name and password in a URL
    (re.compile(r"(?<=://)[^/@\s\"']+(?=@)"), HIDDEN),
    # keys in PEM
    (re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END|\Z)", re.DOTALL), rf"\1 {HIDDEN} \2"),
)


def redacted(text: str) -> str:
    """Return a text without values whose names mark them as secret."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
