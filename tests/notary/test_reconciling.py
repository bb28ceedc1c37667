"""Where ledger and storage do not agree: what is put right, what is refused, and the words of the refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from ledger.proof import public_key_of
from ledger.storage import Folder
from tests.ledger.kit import announce
from tests.notary.kit import CHECKPOINT_KEY, KEY, ORIGIN, Notary
from tlog.checkpoint import Checkpoint
from tlog.note import NoteKey

OTHER_KEY = SigningKey(b"another key of a log's notary !!")
LAST_CHECKPOINT = (
    "DELETE FROM ledger.universal_registry WHERE entity_type = 'checkpoint' AND seq ="
    " (SELECT max(seq) FROM ledger.universal_registry WHERE entity_type = 'checkpoint')"
)


@pytest.fixture
def two(notary: Notary) -> Notary:
    """Two checkpoints."""
    notary.write(300)
    notary.seal()
    notary.write(20)
    notary.seal()
    return notary


def test_storage_that_is_behind_gets_what_it_lacks(two: Notary) -> None:
    first, second = sorted((two.folder / "log" / "checkpoints").iterdir())
    (two.folder / "log" / "checkpoint").write_bytes(first.read_bytes())
    second.unlink()
    assert two.seal()["republished"] == 1
    assert two.newest().size == int(second.name)
    two.require_whole()


def test_storage_without_its_checkpoints_gets_all_of_them(two: Notary) -> None:
    shutil.rmtree(two.folder / "log" / "checkpoints")
    (two.folder / "log" / "checkpoint").unlink()
    assert two.seal()["republished"] == 2
    two.require_whole()


def test_storage_that_lost_its_log_is_built_again_by_a_person(two: Notary) -> None:
    kept = _files(two.folder)
    shutil.rmtree(two.folder)
    said = two.refusal()
    assert "loglineos checkpoint rebuild" in said
    rebuilt = two.answer(rebuild=True)
    assert (rebuilt["size"], rebuilt["of"], rebuilt["checkpoints"]) == (two.newest().size, two.newest().size, 2)
    assert not rebuilt["more"]
    two.require_whole()
    # Partial tiles of earlier checkpoints among them: where there is no full tile yet, proofs to those need them.
    assert _files(two.folder) == kept
    assert two.answer(rebuild=True)["written"] == 0


def test_a_rebuild_mends_what_differs_and_can_be_interrupted(two: Notary) -> None:
    tile = two.folder / "log" / "tile" / "0" / "000"
    tile.write_bytes(b"\x00" * len(tile.read_bytes()))
    said = two.answer(rebuild=True, seconds=0)
    assert said["more"]
    first = said["size"]
    assert said["mended"] == ["tile/0/000"]
    said = two.answer(rebuild=True, after=first)
    assert (said["more"], said["mended"], said["size"]) == (False, [], two.newest().size)
    two.require_whole()
    assert two.answer(rebuild=True, after=first + 1)["error"]["code"] == "sealing_refused"


def test_a_rebuild_writes_nothing_that_the_ledger_did_not_seal(two: Notary) -> None:
    victim = two.rows()[5]
    # Changed together with its hash: only the checkpoints know better.
    two.tamper("UPDATE ledger.universal_registry SET at = at + interval '1 day', curr_hash = %s WHERE id = %s",
               _rehashed(two, victim.id), victim.id)  # fmt: skip
    shutil.rmtree(two.folder)
    assert "do not lead to the root" in two.refusal(rebuild=True)
    assert _files(two.folder) == {}


def _rehashed(notary: Notary, span_id: object) -> str:
    from datetime import timedelta

    from ledger.proof import seal

    span = next(span for span in notary.rows() if span.id == span_id)
    return str(seal(span.with_values(at=span.at + timedelta(days=1)), None).curr_hash)


def test_a_damaged_edge_is_refused(two: Notary) -> None:
    (edge,) = (two.folder / "log" / "tile" / "0" / "001.p").glob(str(two.newest().size % 256))
    edge.write_bytes(bytes(len(edge.read_bytes())))
    assert "loglineos checkpoint rebuild" in two.refusal()


def test_a_checkpoint_that_lost_only_its_span_is_taken_over(two: Notary) -> None:
    size, root = two.newest().size, two.newest().root
    two.tamper(LAST_CHECKPOINT)
    said = two.seal()
    assert said["taken_over"]
    assert (said["newest"]["size"], said["newest"]["root"]) == (size, root.hex())
    two.require_whole()


def test_so_is_the_very_first(notary: Notary) -> None:
    notary.write(3)
    notary.seal()
    notary.tamper(LAST_CHECKPOINT)
    assert notary.seal()["taken_over"]
    notary.write(3)
    notary.seal()
    notary.require_whole()


def test_a_ledger_that_lost_sealed_spans_is_refused(two: Notary) -> None:
    lost = two.rows()[-4:-1]
    two.tamper(LAST_CHECKPOINT)
    two.tamper("DELETE FROM ledger.universal_registry WHERE id = ANY(%s)", [span.id for span in lost])
    said = two.refusal()
    assert "the log is ahead of the ledger" in said
    assert "the other 3 are missing" in said
    assert "LOG_ORIGIN" in said
    two.write(10)
    assert "the other 3 are missing" in two.refusal(), "others in their place do not count"
    before = _files(two.folder)
    assert before == _files(two.folder)


def test_another_log_after_that(two: Notary, tmp_path: Path) -> None:
    two.tamper(LAST_CHECKPOINT)
    two.tamper("DELETE FROM ledger.universal_registry WHERE id = %s", two.rows()[-1].id)
    two.settings |= {"LOG_ORIGIN": "loglineos-second", "ARCHIVE_LOCATION": str(tmp_path / "second")}
    said = two.seal()
    assert said["newest"]["size"] == len(two.rows()) - 1
    assert Folder(tmp_path / "second" / "log").read("checkpoint") is not None


def test_two_roots_for_one_size_are_refused(two: Notary) -> None:
    newest = two.newest()
    forked = Checkpoint(ORIGIN, newest.size, bytes(32)).sign(CHECKPOINT_KEY)
    (two.folder / "log" / "checkpoint").write_text(forked)
    assert "forked" in two.refusal()
    two.log.replace("checkpoint", newest.sign(CHECKPOINT_KEY).encode())
    (two.folder / "log" / f"checkpoints/{newest.size:020}").write_text(forked)
    assert "forked" in two.refusal()


def test_an_older_checkpoint_that_the_ledger_has_not_is_refused(two: Notary) -> None:
    forked = Checkpoint(ORIGIN, two.newest().size - 1, bytes(32)).sign(CHECKPOINT_KEY)
    two.log.replace("checkpoint", forked.encode())
    assert "forked" in two.refusal()


def test_what_an_unfinished_run_wrote_is_held_against_the_ledger(two: Notary) -> None:
    two.write(300)
    (two.folder / "log" / "tile" / "0" / "001").write_bytes(bytes(8192))
    said = two.refusal()
    assert "tile/0/001" in said
    assert "did not finish" in said


def test_a_key_that_came_after_continues_the_log_of_the_one_before(two: Notary) -> None:
    two.settings["CHECKPOINT_KEY_HEX"] = bytes(OTHER_KEY).hex()
    two.write(1)
    assert "CHECKPOINT_KEYS_BEFORE" in two.refusal()
    for before in (str(KEY), public_key_of(CHECKPOINT_KEY)):
        two.settings["CHECKPOINT_KEYS_BEFORE"] = before
        two.write(1)
        assert two.seal()["public_key"] == str(NoteKey(ORIGIN, bytes(OTHER_KEY.verify_key)))
    assert [span.public_key for span in two.chain()] == [public_key_of(CHECKPOINT_KEY)] * 2 + [
        public_key_of(OTHER_KEY)
    ] * 2


def test_a_key_that_was_retired_from_its_own_checkpoint_on_is_named_as_such(two: Notary) -> None:
    old, said = public_key_of(CHECKPOINT_KEY), two.chain()[-1].metadata or {}
    retired = {"public_key": old, "use": "checkpoint", "retired_at": {"size": said["size"], "end": said["end"]}}
    announce(two.ledger, {"public_key": public_key_of(OTHER_KEY), "use": "checkpoint"}, retired)
    two.settings.update(CHECKPOINT_KEY_HEX=bytes(OTHER_KEY).hex(), CHECKPOINT_KEYS_BEFORE=old)
    message = two.refusal(rebuild=True)
    assert "was retired from a checkpoint on that it signed itself" in message
    assert "CHECKPOINT_KEYS_BEFORE" not in message, "that would change nothing"


def test_a_checkpoint_of_a_strangers_is_refused(two: Notary) -> None:
    two.log.replace("checkpoint", two.newest().sign(OTHER_KEY).encode())
    assert "does not count" in two.refusal()
    two.log.replace("checkpoint", b"\xff")
    assert "does not count" in two.refusal()


def test_a_checkpoint_span_that_was_changed_is_refused(two: Notary) -> None:
    two.tamper("UPDATE ledger.universal_registry SET name = 'x' WHERE entity_type = 'checkpoint' AND seq = 1")
    said = two.refusal()
    assert "seq 1" in said
    assert "do not match its hash" in said


def _files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if name != "log/checkpoint"}
