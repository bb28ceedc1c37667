"""The emulator's own file of objects and secrets: SQLite, and a folder for the contents that are large.

Whatever is written is on the disk when the call returns: neither a kill nor a power failure takes it back.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# SQLite reads a content whole; beyond this a file of its own is faster and takes no memory to write.
_LARGE = 256 * 1024
_VERSION = 1
_SCHEMA = """
CREATE TABLE object (
    row INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order in which the versions of a key were put
    bucket TEXT NOT NULL, key TEXT NOT NULL,
    facts TEXT NOT NULL,                    -- JSON: all but the content
    content BLOB, file TEXT                 -- one of them; neither for a delete marker
);
CREATE INDEX object_key ON object (bucket, key, row);
CREATE TABLE secret (region TEXT, name TEXT, facts TEXT NOT NULL, PRIMARY KEY (region, name));
"""
_INSERT = "INSERT INTO object (bucket, key, facts, content, file) VALUES (?, ?, ?, ?, ?) RETURNING row"
_UPDATE = "UPDATE object SET facts = ? WHERE row = ?"

Facts = dict[str, Any]


@dataclass
class Version:
    """A version of an object, or a delete marker."""

    facts: Facts
    row: int | None = None  # None: it is new
    content: IO[bytes] | None = None  # of a new one, if it is no delete marker


class Gone(Exception):
    """The version has been deleted meanwhile."""


class Store:
    """One for each directory, used by the one emulator that holds it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._files = directory / "contents"
        self._files.mkdir(mode=0o700, exist_ok=True)
        self._lock = threading.RLock()
        path = directory / "kept.sqlite"
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite's other files take its permissions
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._prepare(path)
        self._sweep()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def versions(self, bucket: str, key: str) -> list[Version]:
        """Those of one key, oldest first."""
        return [version for _, version in self._read("bucket = ? AND key = ?", bucket, key)]

    def objects(self, bucket: str) -> dict[str, list[Version]]:
        """All keys of a bucket with their versions, oldest first."""
        found: dict[str, list[Version]] = {}
        for key, version in self._read("bucket = ?", bucket):
            found.setdefault(key, []).append(version)
        return found

    def rows(self, bucket: str) -> dict[str, set[int]]:
        """The rows of every key of a bucket."""
        found: dict[str, set[int]] = {}
        with self._lock:
            for key, row in self._db.execute("SELECT key, row FROM object WHERE bucket = ?", [bucket]):
                found.setdefault(key, set()).add(row)
        return found

    def put(self, bucket: str, key: str, versions: list[Version]) -> list[int]:
        """Make the key have these versions, oldest first. Answers the row of each."""
        before = {version.row: version.facts for version in self.versions(bucket, key)}
        gone = before.keys() - {version.row for version in versions}
        changed = [version for version in versions if version.row is None or before.get(version.row) != version.facts]
        if not gone and not changed:
            return [version.row for version in versions if version.row is not None]
        new = [version for version in changed if version.row is None]
        places = [self._written(version.content) for version in new]  # before the others have to wait
        try:
            with self._transaction():
                left = [file for row in gone if (file := self._delete(row))]
                for version in changed:
                    if version.row is not None:
                        self._db.execute(_UPDATE, [_text(version.facts), version.row])
                made = iter(
                    [self._insert(bucket, key, version, *place) for version, place in zip(new, places, strict=True)]
                )
        except BaseException:
            self._unlink([file for _, file in places if file])
            raise
        self._unlink(left)
        return [next(made) if version.row is None else version.row for version in versions]

    def content(self, row: int) -> bytes:
        """A version's content. Raises Gone."""
        with self._lock:
            found = self._db.execute("SELECT content, file FROM object WHERE row = ?", [row]).fetchone()
        if found is None:
            raise Gone
        content, file = found
        try:
            return bytes(content) if file is None else (self._files / file).read_bytes()
        except FileNotFoundError:
            raise Gone from None

    def forget_bucket(self, bucket: str) -> None:
        with self._transaction():
            found = self._db.execute("DELETE FROM object WHERE bucket = ? RETURNING file", [bucket]).fetchall()
        self._unlink([file for (file,) in found if file])

    def secrets(self, region: str) -> list[Facts]:
        with self._lock:
            found = self._db.execute("SELECT facts FROM secret WHERE region = ? ORDER BY name", [region]).fetchall()
        return [json.loads(facts) for (facts,) in found]

    def secret(self, region: str, name: str) -> Facts | None:
        with self._lock:
            statement = "SELECT facts FROM secret WHERE region = ? AND name = ?"
            found = self._db.execute(statement, [region, name]).fetchone()
        return json.loads(found[0]) if found else None

    def put_secret(self, region: str, name: str, describe: Callable[[], Facts | None]) -> None:
        """Keep what `describe` answers, asked when nobody else writes; None forgets the secret."""
        with self._transaction():
            facts = describe()
            if facts is None:
                self._db.execute("DELETE FROM secret WHERE region = ? AND name = ?", [region, name])
            else:
                self._db.execute("INSERT OR REPLACE INTO secret VALUES (?, ?, ?)", [region, name, _text(facts)])

    def _prepare(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise OSError(f"{path} has format {version}, which this version of LogLineOS does not read")

    def _sweep(self) -> None:
        """Files of puts that were interrupted, or whose object went in the moment of a kill."""
        known = {file for (file,) in self._db.execute("SELECT file FROM object WHERE file IS NOT NULL")}
        self._unlink([path.name for path in self._files.iterdir() if path.name not in known])

    def _read(self, where: str, *values: str) -> Iterator[tuple[str, Version]]:
        statement = f"SELECT key, row, facts FROM object WHERE {where} ORDER BY bucket, key, row"  # noqa: S608  ours
        with self._lock:
            found = self._db.execute(statement, values).fetchall()
        for key, row, facts in found:
            yield key, Version(json.loads(facts), row)

    def _insert(self, bucket: str, key: str, version: Version, content: bytes | None, file: str | None) -> int:
        return int(self._db.execute(_INSERT, [bucket, key, _text(version.facts), content, file]).fetchone()[0])

    def _written(self, source: IO[bytes] | None) -> tuple[bytes | None, str | None]:
        """The content itself, or the file that it is in."""
        if source is None:
            return None, None
        source.seek(0, os.SEEK_END)
        size = source.tell()
        source.seek(0)
        if size <= _LARGE:
            return source.read(), None
        name = uuid.uuid4().hex
        descriptor = os.open(self._files / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
            target.flush()
            os.fsync(target.fileno())
        return None, name

    def _delete(self, row: int | None) -> str | None:
        file = self._db.execute("DELETE FROM object WHERE row = ? RETURNING file", [row]).fetchone()
        return file[0] if file else None

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            (self._files / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _text(facts: Facts) -> str:
    return json.dumps(facts, ensure_ascii=False)
