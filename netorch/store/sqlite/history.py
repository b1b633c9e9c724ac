"""The past of a SQLite store: earlier states of prefixes, marks, and the gradual removal of both."""

from __future__ import annotations

import sqlite3
from typing import Final

from netorch.store.base import KEEP_MARK_EVERY
from netorch.store.rules import prefix_end
from netorch.store.sqlite.rows import Row

COLUMNS: Final = "key, value, create_rev, mod_rev, lease, sum"


def rows_of(db: sqlite3.Connection, prefix: str, since: int | None) -> list[Row]:
    """Return the rows of all keys with `prefix`, in order: now, or at the revision `since`."""
    end = prefix_end(prefix)
    below, bounds = ("", (prefix,)) if end is None else ("AND key < ?", (prefix, end))
    rows = db.execute(f"SELECT {COLUMNS} FROM cur WHERE key >= ? {below} ORDER BY key", bounds).fetchall()
    if since is None:
        return rows
    found = {row[0]: row for row in rows}
    undo = db.execute(
        "SELECT key, old_value, old_create_rev, old_mod_rev, old_lease, old_sum FROM log "
        f"WHERE rev > ? AND key >= ? {below} ORDER BY rev DESC, sub DESC",
        (since, *bounds),
    )
    for row in undo.fetchall():
        if row[3] is None:
            found.pop(row[0], None)
        else:
            found[row[0]] = row
    return sorted(found.values(), key=lambda row: (isinstance(row[0], bytes), row[0]))


def mark_of(db: sqlite3.Connection, revision: int) -> str:
    """Return the mark of a revision, or "" if there is none."""
    row = db.execute("SELECT mark FROM mark WHERE rev = ?", (revision,)).fetchone()
    return str(row[0]) if row else ""


def forget_bite(db: sqlite3.Connection, compacted: int, revisions: int) -> bool:
    """Delete at most `revisions` of the revisions before `compacted`. Return whether there was any."""
    oldest = db.execute("SELECT min(rev) FROM log").fetchone()[0]
    if oldest is None or oldest >= compacted:
        return False
    end = min(compacted, oldest + revisions)
    db.execute("DELETE FROM log WHERE rev < ?", (end,))
    # A watch may still be just before the remaining history.
    db.execute(f"DELETE FROM mark WHERE rev >= ? AND rev < ? AND rev % {KEEP_MARK_EVERY} <> 0", (oldest - 1, end - 1))
    return True
