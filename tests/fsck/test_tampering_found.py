"""Whatever somebody with a superuser's power does to what was sealed is found, and called by its name."""

from __future__ import annotations

import psycopg
from nacl.signing import SigningKey
from psycopg import sql

from ledger.ids import MANIFEST_ID, new_id
from ledger.span import Span
from tests.conftest import LOADER_KEY, TestLedger
from tests.fsck.kit import ANA, CHECKPOINT_KEY, ORIGIN, Sealed, changed, name
from tests.ledger.kit import draft
from tlog.checkpoint import Checkpoint

OWN_KEY = SigningKey(b"a key that nobody has announced!")


def notes(sealed: Sealed) -> list[Span]:
    """The sealed notes of ana's, in order."""
    return [span for span in sealed.rows()[: sealed.size] if span.owner_id == "ana" and span.seq == 0]


def test_a_sound_ledger_has_no_findings(sealed: Sealed) -> None:
    report = sealed.check()
    assert (report.ordered(), report.spans, report.proved) == ([], len(sealed.rows()), sealed.size)
    assert report.checkpoints == 2  # each in the history, the newest under its own name too, and outside


def test_an_edited_column(sealed: Sealed) -> None:
    victim = notes(sealed)[3]
    sealed.tamper("UPDATE ledger.universal_registry SET metadata = '{\"n\": 4711}' WHERE id = %s", victim.id)
    assert sealed.found() == [("edited", name(victim)), ("root_differs", None)]
    first = sealed.check().ordered()[0]
    assert first.span == name(victim)


def test_a_hash_that_was_replaced_and_chained_again(sealed: Sealed) -> None:
    chain = [span for span in sealed.rows() if span.name and span.name.startswith("version")]
    first = chain[0]
    new = changed(first, LOADER_KEY, metadata={"n": "forged"})
    sealed.store(new)
    for span in chain[1:]:
        new = changed(span, LOADER_KEY, prev_hash=new.curr_hash)
        sealed.store(new)
    found = [finding for finding in sealed.found() if finding[0] != "root_differs"]
    assert found == [("replaced", name(span)) for span in chain]


def test_a_replaced_hash_without_the_loaders_key(sealed: Sealed) -> None:
    victim = notes(sealed)[5]
    sealed.store(changed(victim, None, metadata={"n": "forged"}).with_values(
        signature=victim.signature, public_key=victim.public_key))  # fmt: skip
    assert ("replaced", name(victim)) in sealed.found()
    assert ("signature_wrong", name(victim)) in sealed.found()


def test_a_deleted_span(sealed: Sealed) -> None:
    victim, before = notes(sealed)[4], notes(sealed)[3]
    sealed.tamper("DELETE FROM ledger.universal_registry WHERE id = %s", victim.id)
    first = sealed.check().ordered()[0]
    assert (first.kind, first.index) == ("missing", sealed_index(sealed, before) + 1)
    assert victim.curr_hash is not None
    assert victim.curr_hash in first.message
    assert name(before) in first.message


def sealed_index(sealed: Sealed, span: Span) -> int:
    return [(one.id, one.seq) for one in sealed.rows()].index((span.id, span.seq))


def test_a_tail_that_was_cut_off(sealed: Sealed) -> None:
    keep = sealed.rows()[sealed.size - 4]
    sealed.tamper(
        "DELETE FROM ledger.universal_registry WHERE (era, xid, position) > (%s, %s::text::xid8, %s)",
        keep.era, str(keep.xid), keep.position,
    )  # fmt: skip
    first = sealed.check().ordered()[0]
    assert (first.kind, first.index) == ("tail_missing", sealed.size - 3)
    assert first.message == f"3 sealed spans are missing after {name(keep)}"


def test_everything_cut_off(sealed: Sealed) -> None:
    sealed.tamper("DELETE FROM ledger.universal_registry")
    assert sealed.found()[0] == ("tail_missing", None)


def test_two_spans_that_changed_places(sealed: Sealed) -> None:
    one, other = notes(sealed)[2], notes(sealed)[9]
    place = "UPDATE ledger.universal_registry SET xid = %s::text::xid8, position = %s WHERE id = %s"
    sealed.tamper(place, "1", 0, one.id)  # the order is unique
    sealed.tamper(place, str(one.xid), one.position, other.id)
    sealed.tamper(place, str(other.xid), other.position, one.id)
    found = [finding for finding in sealed.found() if finding[0] != "root_differs"]
    assert found == [("moved", name(one)), ("moved", name(other))]


def test_a_back_dated_span(sealed: Sealed) -> None:
    victim = notes(sealed)[7]
    sealed.tamper("UPDATE ledger.universal_registry SET at = at - interval '1 year' WHERE id = %s", victim.id)
    assert ("edited", name(victim)) in sealed.found()


def test_a_span_inserted_in_the_past(sealed: Sealed) -> None:
    before = notes(sealed)[6]
    forged = insert_after(sealed, before)
    found = [finding for finding in sealed.found() if finding[0] != "root_differs"]
    assert found == [("inserted", name(forged))]


def insert_after(sealed: Sealed, before: Span) -> Span:
    """A span of ana's, hashed and signed as it should be, right behind another one."""
    forged = changed(draft(ANA, id=new_id(), name="always there"), LOADER_KEY)
    sealed.tamper(
        "INSERT INTO ledger.universal_registry (id, seq, entity_type, who, did, this, at, owner_id, tenant_id, name,"
        " curr_hash, signature, public_key, era, xid, position)"
        " SELECT %s, 0, entity_type, who, did, this, %s, owner_id, tenant_id, %s, %s, %s, %s, era, xid, position + 1000"
        " FROM ledger.universal_registry WHERE id = %s",
        forged.id, forged.at, forged.name, forged.curr_hash, forged.signature, forged.public_key, before.id,
    )  # fmt: skip
    return forged


def test_an_old_backup_that_was_restored(sealed: Sealed) -> None:
    backup = f"{sealed.ledger.name}_backup"
    with psycopg.connect(sealed.ledger.server.url("rdsadmin", "postgres"), autocommit=True) as connection:
        copy = sql.SQL("CREATE DATABASE {} OWNER postgres TEMPLATE {} STRATEGY FILE_COPY")
        connection.execute(copy.format(sql.Identifier(backup), sql.Identifier(sealed.ledger.name)))
        size = len(sealed.rows())
        try:
            sealed.write(5)
            sealed.seal()
            restored = Sealed(TestLedger(sealed.ledger.server, backup, {}), sealed.log, sealed.outside, sealed.size)
            first = restored.check().ordered()[0]
            assert (first.kind, first.index) == ("old_backup", size)
            restored.write(3)  # and life went on
            assert restored.check().ordered()[0].kind == "old_backup"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(backup)))


def test_a_version_that_forks(sealed: Sealed) -> None:
    chain = [span for span in sealed.rows() if span.name and span.name.startswith("version")]
    forged = changed(chain[-1], LOADER_KEY, prev_hash=chain[0].curr_hash)
    sealed.store(forged)
    found = sealed.found()
    assert ("fork", name(forged)) in found
    assert ("replaced", name(forged)) in found


def test_a_fork_that_was_not_sealed_yet(sealed: Sealed) -> None:
    """What no checkpoint covers is still held by the chain of versions."""
    first, second = sealed.versions(2)
    sealed.store(changed(second, LOADER_KEY, prev_hash="0" * 64))
    assert sealed.found() == [("fork", name(second))]
    assert first.curr_hash == second.prev_hash


def test_a_changed_manifest(sealed: Sealed) -> None:
    manifest = next(span for span in reversed(sealed.rows()) if span.id == MANIFEST_ID)
    metadata = {**(manifest.metadata or {}), "allowed_boot_ids": [str(new_id())]}
    sealed.store(changed(manifest, OWN_KEY, metadata=metadata))
    found = sealed.found()
    assert ("key_unknown", name(manifest)) in found
    assert ("replaced", name(manifest)) in found


def test_a_replaced_public_key(sealed: Sealed) -> None:
    """Signature and key are outside of the hash: the tree does not change, the key is still nobody's."""
    victim = notes(sealed)[8]
    sealed.store(changed(victim, OWN_KEY))
    assert sealed.found() == [("key_unknown", name(victim))]


def test_a_signature_of_another_span(sealed: Sealed) -> None:
    one, other = notes(sealed)[1:3]
    sealed.store(one.with_values(signature=other.signature))
    assert sealed.found() == [("signature_wrong", name(one))]


def test_an_edited_tile(sealed: Sealed) -> None:
    path = list(sealed.log.names("tile/0/"))[-1]
    damage(sealed, path)
    report = sealed.check()
    assert [finding.kind for finding in report.ordered()][:1] == ["tile_edited"]
    assert any(path in finding.message for finding in report.found)


def test_an_edited_bundle(sealed: Sealed) -> None:
    path = list(sealed.log.names("tile/entries/"))[-1]
    damage(sealed, path)
    assert any(finding.kind == "tile_edited" and path in finding.message for finding in sealed.check().found)


def damage(sealed: Sealed, path: str) -> None:
    file = sealed.log.path / path
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_a_missing_tile(sealed: Sealed) -> None:
    path = list(sealed.log.names("tile/0/"))[-1]
    (sealed.log.path / path).unlink()
    assert any(finding.kind == "tile_missing" and path in finding.message for finding in sealed.check().found)


def test_a_span_hidden_from_the_order(sealed: Sealed) -> None:
    """No reader of the ledger's order would meet it; a reader of its id would."""
    victim = notes(sealed)[0]
    sealed.tamper("UPDATE ledger.universal_registry SET position = -position WHERE id = %s", victim.id)
    kinds = {kind for kind, span in sealed.found() if span == name(victim)}
    assert kinds == {"misplaced"}
    assert "missing" in {kind for kind, _ in sealed.found()}


def test_a_span_put_off_to_the_future(sealed: Sealed) -> None:
    victim = sealed.write(1)[0]
    sealed.tamper("UPDATE ledger.universal_registry SET xid = '9223372036854775807'::xid8 WHERE id = %s", victim.id)
    assert sealed.found() == [("misplaced", name(victim))]


def test_a_signature_taken_away(sealed: Sealed) -> None:
    """Of a row that everybody has to trust."""
    manifest = next(span for span in reversed(sealed.rows()) if span.id == MANIFEST_ID)
    sealed.store(manifest.with_values(signature=None, public_key=None))
    assert sealed.found() == [("signature_missing", name(manifest))]


def test_a_forged_checkpoint(sealed: Sealed) -> None:
    """Over a ledger that somebody rewrote, by a key of their own."""
    sealed.log.replace("checkpoint", Checkpoint(ORIGIN, sealed.size, b"r" * 32).sign(OWN_KEY).encode())
    assert sealed.found() == [("checkpoint_untrusted", None)]


def test_a_log_that_was_forked(sealed: Sealed) -> None:
    """Two roots for one size, both signed by the notary's own key: the one that was kept outside tells."""
    forked = Checkpoint(ORIGIN, sealed.size, b"r" * 32).sign(CHECKPOINT_KEY)
    sealed.outside.append(("kept by an auditor", forked))
    found = sealed.check().ordered()
    assert {finding.kind for finding in found} == {"checkpoint_differs", "root_differs"}
    assert all("kept by an auditor" in finding.message for finding in found)


def test_a_log_that_was_set_back(sealed: Sealed) -> None:
    newest = sealed.log.path / "checkpoints" / f"{sealed.size:020}"
    older = next(name for name in sealed.log.names("checkpoints/"))
    sealed.log.replace("checkpoint", sealed.log.read(older) or b"")
    newest.unlink()
    assert sealed.found() == [("log_behind", None)]


def test_without_the_log_the_checkpoints_tell(sealed: Sealed) -> None:
    """Not which span it is, but that the spans are not those that were sealed."""
    assert sealed.found(log=False) == []
    victim = notes(sealed)[3]
    sealed.store(changed(victim, LOADER_KEY, metadata={"n": "forged"}))
    assert sealed.found(log=False) == [("root_differs", None)]


def test_without_the_log_a_cut_off_tail_is_told(sealed: Sealed) -> None:
    keep = sealed.rows()[sealed.size - 4]
    sealed.tamper(
        "DELETE FROM ledger.universal_registry WHERE (era, xid, position) > (%s, %s::text::xid8, %s)",
        keep.era, str(keep.xid), keep.position,
    )  # fmt: skip
    assert sealed.found(log=False) == [("tail_missing", None)]


def test_several_processes_find_the_same(sealed: Sealed) -> None:
    one, other = notes(sealed)[2], notes(sealed)[5]
    sealed.tamper("UPDATE ledger.universal_registry SET name = 'x' WHERE id = ANY(%s)", [one.id, other.id])
    assert sealed.found(jobs=2) == sealed.found(jobs=1)
    assert sealed.found(jobs=2)[:2] == [("edited", name(one)), ("edited", name(other))]


def test_several_at_once(sealed: Sealed) -> None:
    """One finding hides no other."""
    edited, deleted, replaced = notes(sealed)[1], notes(sealed)[5], notes(sealed)[10]
    sealed.tamper("UPDATE ledger.universal_registry SET name = 'x' WHERE id = %s", edited.id)
    sealed.tamper("DELETE FROM ledger.universal_registry WHERE id = %s", deleted.id)
    sealed.store(changed(replaced, LOADER_KEY, name="y"))
    forged = insert_after(sealed, notes(sealed)[7])
    found = [finding for finding in sealed.found() if finding[0] != "root_differs"]
    assert found == [
        ("edited", name(edited)), ("missing", None), ("inserted", name(forged)), ("replaced", name(replaced)),
    ]  # fmt: skip
