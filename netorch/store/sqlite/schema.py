"""The tables of a SQLite store, the creation of its file, and the meaning of SQLite's errors for the user."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from netorch.errors import StoreUnavailable
from netorch.store.modes import FILE_MODE, PRIVATE_MODE, give_to_group, tighten
from netorch.store.rules import FIRST_REVISION, first_marks
from netorch.store.sqlite.index_lock import SQLITE_WAITS_S, await_index
from netorch.store.sqlite.rows import checksum_of, text
from netorch.store.sqlite.wakeup import RevisionFile

APPLICATION_ID: Final = 0x6E65746F  # "neto"; sqlite.org/pragma.html#pragma_application_id
VERSION: Final = 2
_BUSY_TIMEOUT_S: Final = 5.0

# `log` has the old and the new state of every change: forward it is the watches' history, backward it yields a past
# revision. Keys compare as UTF-8 bytes (SQLite's BINARY), as in etcd.
_TABLES: Final = (
    """CREATE TABLE meta (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        uid TEXT NOT NULL, rev INTEGER NOT NULL, compacted INTEGER NOT NULL, boot TEXT NOT NULL)""",
    """CREATE TABLE cur (
        key TEXT PRIMARY KEY, value BLOB NOT NULL, create_rev INTEGER NOT NULL, mod_rev INTEGER NOT NULL, lease INTEGER NOT NULL,
        sum INTEGER) WITHOUT ROWID""",
    "CREATE INDEX cur_lease ON cur (lease) WHERE lease <> 0",
    """CREATE TABLE log (
        rev INTEGER NOT NULL, sub INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, create_rev INTEGER NOT NULL,
        old_value BLOB, old_create_rev INTEGER, old_mod_rev INTEGER, old_lease INTEGER,
        sum INTEGER, old_sum INTEGER, PRIMARY KEY (rev, sub)) WITHOUT ROWID""",
    "CREATE TABLE mark (rev INTEGER PRIMARY KEY, mark TEXT NOT NULL)",
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL, deadline REAL NOT NULL)",
    "CREATE INDEX lease_deadline ON lease (deadline)",
)


def open_database(path: Path, create: bool, patience_s: float) -> tuple[sqlite3.Connection, RevisionFile]:
    """Return a connection to the store in `path`, and its lock files. A store is created only where there never was one.

    Raises:
      StoreUnavailable: there is no store and `create` is false, it was removed or emptied, the directory is missing or not
        writable, the file is damaged, not a store, or of a newer netorch.
    """
    check_exists(path, create)
    if not path.exists():
        _make(path)
    tighten(path)
    if patience_s < SQLITE_WAITS_S:
        await_index(path, patience_s)
    with contextlib.ExitStack() as undo, translated(path):
        db = _connect(path, patience_s)
        undo.callback(db.close)
        _version(db, path)  # before the first write: a foreign file stays unchanged
        revision_file = RevisionFile(path)
        undo.callback(revision_file.close)
        with revision_file.locked(patience_s):
            _prepare(db, path)
        undo.pop_all()
        return db, revision_file


def check_exists(path: Path, create: bool) -> None:
    """Raise StoreUnavailable if there is no store, unless `create` is set, its directory exists, and none ever was."""
    _check_path(path)
    check_not_emptied(path)
    if not path.exists():
        _check_never_was(path, create)


def check_not_emptied(path: Path) -> None:
    """Raise StoreUnavailable for an empty file: SQLite would treat it as a new database."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == 0:
            known = _last_revision(path)
            said = f"{path.name}.rev says revision {known}: it was emptied; restore a backup"
            raise StoreUnavailable(f"store: {path} is empty, but {said}" if known else f"store: {path} is empty; remove it")


def _check_never_was(path: Path, create: bool) -> None:
    known = _last_revision(path)
    if known is not None:
        raise StoreUnavailable(
            f"store: {path} no longer exists, but {path.name}.rev says revision {known}: it was removed; restore a backup, "
            f"or remove {path.name}.rev to begin a new store"
        )
    if not create:
        raise StoreUnavailable(
            f"store: {path} does not exist; give another path, or create it: "
            "netorch apply -f FILE, or netorch host create NAME --underlay IP"
        )


def _last_revision(path: Path) -> int | None:
    """Return the last revision announced to readers; None: there never was a store."""
    try:
        return int.from_bytes(Path(f"{path}.rev").read_bytes()[:8])
    except FileNotFoundError:
        return None
    except OSError:
        return 0


def _make(path: Path) -> None:
    """Create an empty store under another name, and link it to its own name once complete. The first process wins."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
        give_to_group(new)
        with translated(path), contextlib.closing(_connect(new, _BUSY_TIMEOUT_S)) as db:
            _use_log(db, path)
            with _transaction(db):
                for statement in _TABLES:
                    db.execute(statement)
                db.execute("INSERT INTO meta VALUES (1, ?, ?, 0, '')", (secrets.token_hex(16), FIRST_REVISION))
                db.executemany("INSERT INTO mark VALUES (?, ?)", first_marks(FIRST_REVISION).items())
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {VERSION}")
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # SQLite has done so for the other name
        finally:
            os.close(directory)
    except OSError as error:
        raise StoreUnavailable(f"store: {path}: {error.strerror}; make its directory writable, or give another path") from error
    finally:
        new.unlink(missing_ok=True)


def _connect(path: Path, patience_s: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=min(patience_s, _BUSY_TIMEOUT_S), isolation_level=None, check_same_thread=False)
    db.text_factory = text
    return db


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise StoreUnavailable instead of sqlite3's errors: with their meaning for the user of `path`, and a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")  # missing e.g. for a closed connection
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
    ("SQLITE_READONLY", "the file or its directory is not writable", "run as its owner, or give another path"),
    ("SQLITE_CANTOPEN", "the file, or one beside it, cannot be opened for writing", "make the file and its directory writable"),
    ("SQLITE_PERM", "the file cannot be opened for writing", "make the file and its directory writable"),
    ("SQLITE_NOTADB", "this is not a netorch store, or it is damaged", "give another path, or restore a backup"),
    ("SQLITE_CORRUPT", "the file is damaged", "restore a backup"),
    ("SQLITE_IOERR", "the disk reports an error", "check the disk and its free space, then try again"),
    ("SQLITE_BUSY", "another program has locked the file", "close it (sqlite3?) and try again"),
)


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Return the format of a store, this netorch's or an older one's. Raises StoreUnavailable for any other file."""
    identity = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if identity != APPLICATION_ID:
        raise StoreUnavailable(f"store: {path} is the database of another program; give another path")
    if not 1 <= version <= VERSION:
        raise StoreUnavailable(
            f"store: {path} has format {version}, and this netorch supports {VERSION}; use the netorch that wrote it"
        )
    return version


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    _use_log(db, path)
    # NORMAL is six times as fast, but loses the last acknowledged commits in a power failure: revisions would be used
    # twice.
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    if _version(db, path) < VERSION:
        with _transaction(db):
            if _version(db, path) < VERSION:  # no other process was faster
                _upgrade(db)
    tighten(Path(f"{path}-wal"))
    with contextlib.suppress(OSError):  # SQLite gives it the file's mode, and any reader of it could lock it
        os.chmod(f"{path}-shm", PRIVATE_MODE)


def _use_log(db: sqlite3.Connection, path: Path) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailable(
            f"store: {path}: the file system does not support a write-ahead log (got {mode}); use a local disk"
        )


def _upgrade(db: sqlite3.Connection) -> None:
    """Add checksums and marks to a store of format 1; its history stays. Processes of the older netorch can no longer write."""
    for table, column in (("cur", "sum"), ("log", "sum"), ("log", "old_sum")):
        db.execute(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER")
    records = db.execute("SELECT key, value, create_rev, mod_rev FROM cur").fetchall()
    db.executemany("UPDATE cur SET sum = ? WHERE key = ?", [(checksum_of(*row), row[0]) for row in records])
    for column, columns in (("sum", "value, create_rev, rev"), ("old_sum", "old_value, old_create_rev, old_mod_rev")):
        changes = db.execute(f"SELECT rev, sub, key, {columns} FROM log").fetchall()
        sums = [(checksum_of(*row[2:]), *row[:2]) for row in changes]
        db.executemany(f"UPDATE log SET {column} = ? WHERE rev = ? AND sub = ?", sums)
    db.execute("CREATE TABLE mark (rev INTEGER PRIMARY KEY, mark TEXT NOT NULL)")
    db.executemany("INSERT INTO mark VALUES (?, ?)", first_marks(db.execute("SELECT rev FROM meta").fetchone()[0]).items())
    db.execute(f"PRAGMA user_version = {VERSION}")
