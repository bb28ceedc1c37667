"""The checkpoints in storage: each under its size, written once, and the newest under a name of its own."""

from __future__ import annotations

from collections.abc import Iterable

from ledger.storage import Storage
from tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from tlog.errors import ProofInvalid
from tlog.note import NoteKey
from tlog.tiles import CHECKPOINT, checkpoint_path

from .chain import Chain, Sealed
from .settings import SealingRefused


def published(storage: Storage, keys: Iterable[NoteKey]) -> tuple[Checkpoint, str] | None:
    """The newest checkpoint in storage and its note. Raises SealingRefused: none of the keys has signed it."""
    data = storage.read(CHECKPOINT)
    if data is None:
        return None
    try:
        note = data.decode()
        return open_checkpoint(note, keys), note
    except (UnicodeDecodeError, ProofInvalid) as error:
        raise SealingRefused(
            f"{CHECKPOINT} in {storage} does not count: {error}. If its key was the notary's before, list it in"
            " CHECKPOINT_KEYS_BEFORE; else somebody wrote it who may not: run `loglineos fsck`"
        ) from None


def publish_missing(storage: Storage, chain: Chain, newest: Sealed) -> int:
    """Put into storage what the ledger has sealed and it lacks; how many checkpoints that were.

    Raises:
        SealingRefused: storage has a checkpoint, of one of these sizes or as its newest, that the ledger has not.
    """
    there = published(storage, chain.known_keys())
    if there is not None and there[0].size < newest.checkpoint.size and not _in_chain(chain, there[0]):
        raise _forked(storage, CHECKPOINT, there[0].size)
    missing = []
    for sealed in chain.backwards():
        if has_checkpoint(storage, sealed):
            break
        missing.append(sealed)
    for sealed in reversed(missing):  # the oldest first: what is there is then whole up to a size
        storage.add(checkpoint_path(sealed.checkpoint.size), sealed.note.encode())
    publish_newest(storage, chain, newest)
    return len(missing)


def publish(storage: Storage, chain: Chain, newest: Sealed) -> None:
    """Put a checkpoint that the ledger has just got into storage. Raises SealingRefused."""
    if not has_checkpoint(storage, newest):
        storage.add(checkpoint_path(newest.checkpoint.size), newest.note.encode())
    publish_newest(storage, chain, newest)


def has_checkpoint(storage: Storage, sealed: Sealed) -> bool:
    """Is it under its size? It may have been signed again, by another key. Raises SealingRefused: another one is."""
    name = checkpoint_path(sealed.checkpoint.size)
    data = storage.read(name)
    if data is not None and _stated(data) != sealed.checkpoint:
        raise _forked(storage, name, sealed.checkpoint.size)
    return data is not None


def _stated(data: bytes) -> Checkpoint | None:
    try:
        return parse_checkpoint(data.decode().partition("\n\n")[0] + "\n")
    except (UnicodeDecodeError, ProofInvalid):
        return None


def publish_newest(storage: Storage, chain: Chain, newest: Sealed) -> None:
    """Point to it; but a slow notary does not put its checkpoint over that of one which came after it."""
    there = published(storage, chain.known_keys())
    if there is None or there[0].size < newest.checkpoint.size:
        storage.replace(CHECKPOINT, newest.note.encode())
    elif there[0].size == newest.checkpoint.size and there[0] != newest.checkpoint:
        raise _forked(storage, CHECKPOINT, there[0].size)


def _in_chain(chain: Chain, checkpoint: Checkpoint) -> bool:
    for sealed in chain.backwards():
        if sealed.checkpoint.size <= checkpoint.size:
            return sealed.checkpoint == checkpoint
    return False


def _forked(storage: Storage, name: str, size: int) -> SealingRefused:
    return SealingRefused(
        f"{name} in {storage} is a checkpoint of {size} spans that the ledger does not have: the log has forked, or"
        " the file was changed. Keep both as they are and run `loglineos fsck`",
        size=size,
    )
