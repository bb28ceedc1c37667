"""Signed notes, checkpoints and proof files: what is accepted, and the reason for what is not."""

from __future__ import annotations

import base64

import pytest
from nacl.signing import SigningKey

from ledger.errors import InvalidInput
from tests.tlog.kit import entries_of, flipped, mth, path, proof, refused
from tlog.checkpoint import Checkpoint, decode_hash, encode_hash, open_checkpoint, parse_checkpoint
from tlog.errors import ProofInvalid
from tlog.note import NoteKey, open_note, sign_note
from tlog.proofs import ConsistencyProof, InclusionProof

ORIGIN = "loglineos-tests"
SECRET, OTHER = SigningKey(b"a signing key of these tests, 32"), SigningKey(b"another signing key of the tests")
KEY, OTHER_KEY = (NoteKey(ORIGIN, bytes(key.verify_key)) for key in (SECRET, OTHER))
ENTRIES = entries_of(20)
CHECKPOINT = Checkpoint(ORIGIN, 20, mth(ENTRIES))
NOTE = CHECKPOINT.sign(SECRET)


def test_the_example_of_the_signed_note_specification() -> None:
    """C2SP signed-note: a key named PeterNeumann, whose id is c74f20a3."""
    key = NoteKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = (
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert open_note(note, [key]).startswith("If you think")
    assert str(key).startswith("PeterNeumann+c74f20a3+")
    refused(open_note, note.replace("answer", "question"), [key])


def test_a_checkpoint_comes_back() -> None:
    assert NOTE.startswith(f"{ORIGIN}\n20\n{encode_hash(CHECKPOINT.root)}\n\n— {ORIGIN} ")
    assert open_checkpoint(NOTE, [KEY]) == CHECKPOINT
    assert NoteKey.parse(str(KEY)) == KEY
    assert parse_checkpoint(CHECKPOINT.text + "an extension\n") == CHECKPOINT


def test_every_bit_of_a_note_counts() -> None:
    data = NOTE.encode()
    for bit in range(8 * len(data)):
        try:
            changed = flipped(data, bit).decode()
        except UnicodeDecodeError:
            continue
        refused(open_checkpoint, changed, [KEY])


def test_several_signatures() -> None:
    line = sign_note(CHECKPOINT.text, "a-witness", OTHER).rpartition("\n\n")[2]
    both = NOTE + line
    assert open_checkpoint(both, [KEY]) == CHECKPOINT, "one that we do not know says nothing"
    witness = NoteKey("a-witness", bytes(OTHER.verify_key))
    assert open_checkpoint(both, [KEY, witness]) == CHECKPOINT
    wrong = line.replace(line.split(" ")[2], base64.b64encode(witness.key_id + bytes(64)).decode() + "\n")
    assert "wrong" in refused(open_checkpoint, NOTE + wrong, [KEY, witness])


def test_who_signed_it() -> None:
    assert "not signed by a trusted key (trusted: none)" in refused(open_checkpoint, NOTE, [])
    assert str(OTHER_KEY) in refused(open_checkpoint, NOTE, [OTHER_KEY])
    elsewhere = NoteKey("another-log", bytes(SECRET.verify_key))
    refused(open_checkpoint, NOTE, [elsewhere])
    signed_elsewhere = sign_note(CHECKPOINT.text, "another-log", SECRET)
    assert open_note(signed_elsewhere, [elsewhere]) == CHECKPOINT.text
    # A key signs for the log of its name only.
    refused(open_checkpoint, signed_elsewhere, [elsewhere])


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ("", "not a signed note"),
        (CHECKPOINT.text, "not a signed note"),
        (NOTE[:-1], "not a signed note"),
        (NOTE.replace("20", "2\t0"), "control characters"),
        (NOTE.replace("20", "20\r"), "control characters"),
        (NOTE + "— x\n", "malformed signature line"),
        (NOTE + "- x AAAAAAAA\n", "malformed signature line"),
        (NOTE + "— a+b AAAAAAAA\n", "malformed signature line"),
        (NOTE + "— x AAAA\n", "malformed signature line"),
        (NOTE + "— x ????????\n", "malformed signature line"),
        (NOTE + "— x AAAAAAAA\n" * 100, "at most 100 signatures"),
        ("x" * 1_000_001, "at most 1 MB"),
    ],
)
def test_what_is_no_note(note: str, reason: str) -> None:
    assert reason in refused(open_checkpoint, note, [KEY])


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n20\n",
        f"\n20\n{encode_hash(CHECKPOINT.root)}\n",
        f"{ORIGIN}\n020\n{encode_hash(CHECKPOINT.root)}\n",
        f"{ORIGIN}\n-1\n{encode_hash(CHECKPOINT.root)}\n",
        f"{ORIGIN}\n{10**19}\n{encode_hash(CHECKPOINT.root)}\n",
        f"{ORIGIN}\n20\n{encode_hash(CHECKPOINT.root)[:-2]}\n",
        f"{ORIGIN}\n20\n{encode_hash(bytes(31))}\n",
        f"{ORIGIN}\n20\n{encode_hash(CHECKPOINT.root)}\n\nmore\n",
        f"{ORIGIN}\n20\n{encode_hash(CHECKPOINT.root)}",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    refused(parse_checkpoint, text)
    if text.endswith("\n"):
        refused(open_checkpoint, sign_note(text, ORIGIN, SECRET), [KEY])


def test_a_hash_has_one_way_to_be_written() -> None:
    text = encode_hash(bytes(32))
    assert decode_hash(text) == bytes(32)
    refused(decode_hash, text[:-2] + "B=")  # the same bytes to a lenient reader


@pytest.mark.parametrize(
    "text",
    ["", "name", "name+12345678", str(KEY).replace(ORIGIN, "another"), str(KEY)[:-4], str(KEY).replace("+", "-", 1),
     f"a b+{KEY.key_id.hex()}+AAAA", str(KEY) + "AAAA"],
)  # fmt: skip
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(InvalidInput, match="verification key"):
        NoteKey.parse(text)


@pytest.mark.parametrize("extra", [None, b"", b"\x00any bytes\n"])
@pytest.mark.parametrize("index", [0, 7, 19])
def test_an_inclusion_proof_is_a_file(index: int, extra: bytes | None) -> None:
    made = InclusionProof(index, tuple(path(index, ENTRIES)), NOTE, extra)
    text = str(made)
    assert text.startswith("c2sp.org/tlog-proof@v1\n")
    assert InclusionProof.parse(text) == made
    assert made.verify(ENTRIES[index], [KEY]) == CHECKPOINT
    refused(made.verify, ENTRIES[index - 1], [KEY])
    refused(made.verify, flipped(ENTRIES[index], 3), [KEY])
    refused(made.verify, ENTRIES[index], [OTHER_KEY])


def test_a_consistency_proof_is_a_file() -> None:
    old = Checkpoint(ORIGIN, 13, mth(ENTRIES[:13]))
    made = ConsistencyProof(13, tuple(proof(13, ENTRIES)), NOTE)
    assert str(made).startswith("old 13\n")
    assert ConsistencyProof.parse(str(made)) == made
    assert made.verify(old, [KEY]) == CHECKPOINT
    assert "two logs" in refused(made.verify, Checkpoint("another", 13, old.root), [KEY])
    assert "begins at 13" in refused(made.verify, Checkpoint(ORIGIN, 12, old.root), [KEY])
    assert "forked" in refused(made.verify, Checkpoint(ORIGIN, 13, mth(ENTRIES[:12])), [KEY])
    same = ConsistencyProof(20, (), NOTE)
    assert ConsistencyProof.parse(str(same)).verify(CHECKPOINT, [KEY]) == CHECKPOINT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("index 7", "index 07"),
        ("index 7", "index"),
        ("index 7", "index 7 "),
        ("extra ", "extra ?"),
        ("\n\n", "\n"),
    ],
)
def test_what_is_no_inclusion_proof(old: str, new: str) -> None:
    text = str(InclusionProof(7, tuple(path(7, ENTRIES)), "note\n", b"extra"))
    assert old in text
    with pytest.raises(ProofInvalid):
        InclusionProof.parse(text.replace(old, new))


@pytest.mark.parametrize("text", ["", "old\n\n", "old x\n\nnote", "old 1\nAAAA\n\nnote", "new 1\n\nnote"])
def test_what_is_no_consistency_proof(text: str) -> None:
    refused(ConsistencyProof.parse, text)
