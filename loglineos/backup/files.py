"""A backup's file of spans: streamed, compressed, hashed; under its own name only when it is whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, cast

import zstandard

from loglineos.private_file import write_private

from .errors import BackupDamaged
from .manifest import DataFile

HALF: Final = ".half"
_LEVEL: Final = 3
_READ_BYTES: Final = 1 << 20
_MAX_LINE_BYTES: Final = 1 << 24  # a span has 1 MB at most, and COPY writes no byte as more than four


class SpanFile:
    """A file that is being written, for its owner alone to read.

    Leaving it by an error removes it; killed, it stays as `….half`, which is no backup.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._half = path, path.with_name(path.name + HALF)
        self._sha256 = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
        self._bytes = self._raw_bytes = 0

    def __enter__(self) -> SpanFile:
        self._half.unlink(missing_ok=True)
        descriptor = os.open(self._half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._half.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Add some lines."""
        self._raw_bytes += len(data)
        self._put(self._compressor.compress(data))

    def finish(self) -> DataFile:
        """Put the file in its place, on disk for certain."""
        self._put(self._compressor.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._half.replace(self._path)
        return DataFile(
            name=self._path.name, bytes=self._bytes, raw_bytes=self._raw_bytes, sha256=self._sha256.hexdigest()
        )

    def _put(self, data: bytes) -> None:
        self._sha256.update(data)
        self._bytes += len(data)
        self._file.write(data)


def write_manifest(path: Path, text: str) -> None:
    """The last act of a backup: with it the backup is there, without it there is none."""
    write_private(path, text)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(folder: Path, file: DataFile) -> Iterator[list[bytes]]:
    """The lines of a file without their ends, a megabyte or so at a time. At its end the file has been compared with
    what is known of it.

    Raises:
        BackupDamaged: it is missing, or not what was written.
    """
    rest = b""
    try:
        with (folder / file.name).open("rb") as stream:
            hashed = _Hashed(stream)
            with zstandard.ZstdDecompressor().stream_reader(cast(BinaryIO, hashed), read_size=_READ_BYTES) as plain:
                while data := plain.read(_READ_BYTES):
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > _MAX_LINE_BYTES:
                        raise BackupDamaged(file.name, "it holds a line that is larger than any span")
                    yield lines
            while hashed.read(_READ_BYTES):  # what stands behind the end of the compressed data
                pass
    except FileNotFoundError:
        raise BackupDamaged(file.name, "the file is missing") from None
    except zstandard.ZstdError as error:
        raise BackupDamaged(file.name, f"it was changed, or is cut off: {error}") from None
    if hashed.sha256.hexdigest() != file.sha256:
        raise BackupDamaged(file.name, "it was changed: its SHA-256 is not the one that its manifest names")
    if rest:
        raise BackupDamaged(file.name, "its last line is cut off")


class _Hashed:
    """A stream that hashes what is read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        return data
