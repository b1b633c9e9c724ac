"""The tables of a SQLite store, how a file becomes one, and what SQLite's errors mean to the user."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from netorch.errors import StoreUnavailable
from netorch.store.rules import FIRST_REVISION
from netorch.store.wakeup import RevisionFile

APPLICATION_ID: Final = 0x6E65746F  # "neto"; sqlite.org/pragma.html#pragma_application_id
VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 5.0

# `log` says for every change what was and what became: forward it is the watches' history, backward it gives a past revision.
# Keys compare as UTF-8 bytes (SQLite's BINARY), as in etcd.
_TABLES: Final = (
    """CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        uid TEXT NOT NULL, rev INTEGER NOT NULL, compacted INTEGER NOT NULL, boot TEXT NOT NULL)""",
    """CREATE TABLE cur (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, create_rev INTEGER NOT NULL, mod_rev INTEGER NOT NULL, lease INTEGER NOT NULL
        ) WITHOUT ROWID""",
    "CREATE INDEX cur_lease ON cur (lease) WHERE lease <> 0",
    """CREATE TABLE log (
        rev INTEGER NOT NULL, sub INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, create_rev INTEGER NOT NULL,
        old_value BLOB, old_create_rev INTEGER, old_mod_rev INTEGER, old_lease INTEGER,
        PRIMARY KEY (rev, sub)) WITHOUT ROWID""",
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL, deadline REAL NOT NULL)",
    "CREATE INDEX lease_deadline ON lease (deadline)",
)


def open_database(path: Path) -> tuple[sqlite3.Connection, RevisionFile]:
    """Return a connection to the store in `path`, made if there is none, and the file that locks it.

    Raises:
      StoreUnavailable: the directory is missing or not writable, the file is damaged, something else's, or a newer netorch's.
    """
    _check_path(path)
    with contextlib.ExitStack() as undo, translated(path):
        db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        undo.callback(db.close)
        _is_ours(db, path)  # before the first write: what is not ours stays as it is
        revision_file = RevisionFile(path)
        undo.callback(revision_file.close)
        with revision_file.locked():
            _prepare(db, path)
        undo.pop_all()
        return db, revision_file


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreUnavailable instead of what sqlite3 raises: what it means for the user of `path`, and what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")  # none for e.g. a closed connection
        cause, fix = next((rest for prefix, *rest in _CAUSES if name.startswith(prefix)), (str(error), "connect again"))
        raise StoreUnavailable(f"store: {path}: {cause}{f' ({name})' if name else ''}; {fix}") from error


def _check_path(path: Path) -> None:
    try:
        parent_mode = path.parent.stat().st_mode
        is_directory = path.is_dir()
    except OSError as error:
        raise StoreUnavailable(f"store: {path}: {error.strerror}: {error.filename}; create it, or give another path") from error
    if not stat.S_ISDIR(parent_mode):
        raise StoreUnavailable(f"store: {path}: {path.parent} is no directory; give another path")
    if is_directory:
        raise StoreUnavailable(f"store: {path} is a directory; give the path of a file in it, e.g. {path / 'netorch.db'}")


_CAUSES: Final = (
    ("SQLITE_FULL", "the disk is full", "free some space and try again"),
    ("SQLITE_READONLY", "the file or its directory cannot be written", "run as its owner, or give another path"),
    ("SQLITE_CANTOPEN", "the file, or one beside it, cannot be opened for writing", "make it and its directory writable"),
    ("SQLITE_PERM", "the file cannot be opened for writing", "make it and its directory writable"),
    ("SQLITE_NOTADB", "this is not a netorch store, or it is damaged", "give another path, or put back a backup"),
    ("SQLITE_CORRUPT", "the file is damaged", "put back a backup"),
    ("SQLITE_IOERR", "the disk does not answer as it should", "check the disk and its free space, then try again"),
    ("SQLITE_BUSY", "another program holds the file", "close it (sqlite3?) and try again"),
)


def _is_ours(db: sqlite3.Connection, path: Path) -> bool:
    """Return whether the file is a store of this version; False: it is empty yet."""
    identity = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if identity == APPLICATION_ID and version == VERSION:
        return True
    if identity == APPLICATION_ID:
        raise StoreUnavailable(f"store: {path} has format {version}, this netorch knows {VERSION}; use the netorch that wrote it")
    if identity or version or db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise StoreUnavailable(f"store: {path} is another program's database; give another path")
    return False


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(f"store: {path}: the file system allows no write-ahead log (got {mode}); use a local disk")
    # NORMAL is six times as fast and loses the last acknowledged commits with the power: revisions would be used twice.
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    db.execute("BEGIN IMMEDIATE")
    try:
        if not _is_ours(db, path):
            _create(db)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _create(db: sqlite3.Connection) -> None:
    for statement in _TABLES:
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES (1, ?, ?, 0, '')", (secrets.token_hex(16), FIRST_REVISION))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
