"""Makes the files beside it again, the same to the byte: `.venv/bin/python -m tests.proofs.make`.

`good.*` prove something; each file of `bad/` is one of them with one thing wrong, and reasons.toml says what is told.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path

from nacl.signing import SigningKey

from ledger.proof import seal
from ledger.span import Span, parse_span
from ledger.storage import Folder
from tlog.checkpoint import Checkpoint
from tlog.growth import Growth
from tlog.merkle import EMPTY_ROOT, consistency_path, inclusion_path
from tlog.note import NoteKey, sign_note
from tlog.proofs import ConsistencyProof, InclusionProof
from tlog.tiles import Tree

HERE = Path(__file__).parent
KEY, OTHER, LOADER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
ORIGIN = "loglineos-example"
SIZE, OLD, INDEX = 300, 200, 137


def span(number: int) -> Span:
    """One of the log's spans."""
    values = {
        "id": f"01900000-0000-7000-8000-{number:012}", "entity_type": "note", "who": "ana", "did": "wrote",
        "this": "note", "at": "2026-01-31T12:00:00.000001Z", "owner_id": "ana", "tenant_id": "acme",
        "metadata": {"n": number, "text": "用户偏好深色模式 🌙", "share": 0.1},
    }  # fmt: skip
    return seal(parse_span(values), LOADER)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Folder(Path(folder))
        growth = Growth(log, 0, EMPTY_ROOT)
        entries = [bytes.fromhex(hash_of(span(number))) for number in range(SIZE)]
        growth.append(entries[:OLD])
        old = Checkpoint(ORIGIN, OLD, growth.finish())
        growth.append(entries[OLD:])
        new = Checkpoint(ORIGIN, SIZE, growth.finish())
        tree = Tree(log, SIZE)
        path = tuple(inclusion_path(INDEX, SIZE, tree.subtree))
        between = tuple(consistency_path(OLD, SIZE, tree.subtree))
    sealed = span(INDEX)
    proof = InclusionProof(INDEX, path, new.sign(KEY), extra(sealed.model_dump(mode="json", exclude_none=True)))
    consistency = ConsistencyProof(OLD, between, new.sign(KEY))
    write("good.key", f"{NoteKey(ORIGIN, bytes(KEY.verify_key))}\n")
    write("good.tlog-proof", str(proof))
    write("good-hash-only.tlog-proof", str(with_(proof, extra=extra({"curr_hash": sealed.curr_hash}))))
    write("good.consistency", str(consistency))
    write("good.checkpoint", old.sign(KEY))
    for name, text in bad(proof, consistency, old, new, sealed).items():
        write(f"bad/{name}", text)


def bad(
    proof: InclusionProof, consistency: ConsistencyProof, old: Checkpoint, new: Checkpoint, sealed: Span
) -> dict[str, str]:
    """By file name."""
    flipped = (bytes([proof.path[0][0] ^ 1]) + proof.path[0][1:], *proof.path[1:])
    edited = sealed.with_values(metadata={"n": 4711}).model_dump(mode="json", exclude_none=True)
    resealed = seal(sealed.with_values(metadata={"n": 4711}), LOADER).model_dump(mode="json", exclude_none=True)
    unsigned = f"{new.text}\n"
    return {
        "edited-span.tlog-proof": str(with_(proof, extra=extra(edited))),
        "resealed-span.tlog-proof": str(with_(proof, extra=extra(resealed))),
        "other-signature.tlog-proof": str(with_(proof, extra=extra(
            {**sealed.model_dump(mode="json", exclude_none=True), "signature": span(1).signature}))),
        "unknown-column.tlog-proof": str(with_(proof, extra=extra({**edited, "colour": "red"}))),
        "other-format.tlog-proof": str(with_(proof, extra=b'{"format":"loglineos/span/v9","span":{}}')),
        "made-up-place.tlog-proof": str(with_(proof, extra=extra(
            {**sealed.model_dump(mode="json", exclude_none=True), "era": 99, "xid": 7, "position": 1}))),
        "hash-in-capitals.tlog-proof": str(with_(proof, extra=extra({"curr_hash": hash_of(sealed).upper()}))),
        "hash-with-newline.tlog-proof": str(with_(proof, extra=extra({"curr_hash": f"{hash_of(sealed)}\n"}))),
        "endless-nesting.tlog-proof": str(with_(proof, extra=b"[" * 20_000)),
        "no-span.tlog-proof": str(with_(proof, extra=None)),
        "extra-not-base64.tlog-proof": str(proof).replace("extra ", "extra !", 1),
        "flipped-bit.tlog-proof": str(with_(proof, path=flipped)),
        "path-too-short.tlog-proof": str(with_(proof, path=proof.path[:-1])),
        "path-too-long.tlog-proof": str(with_(proof, path=(*proof.path, proof.path[0]))),
        "path-in-other-order.tlog-proof": str(with_(proof, path=proof.path[::-1])),
        "other-index.tlog-proof": str(with_(proof, index=INDEX + 1)),
        "index-beyond-size.tlog-proof": str(with_(proof, index=SIZE)),
        "index-with-zeroes.tlog-proof": str(proof).replace(f"index {INDEX}", f"index 0{INDEX}"),
        "no-index.tlog-proof": str(proof).replace(f"index {INDEX}\n", ""),
        "hash-of-31-bytes.tlog-proof": str(with_(proof, path=(proof.path[0][:-1], *proof.path[1:]))),
        "other-version.tlog-proof": str(proof).replace("tlog-proof@v1", "tlog-proof@v2"),
        "no-checkpoint.tlog-proof": str(with_(proof, note="")),
        "unsigned.tlog-proof": str(with_(proof, note=unsigned)),
        "unknown-key.tlog-proof": str(with_(proof, note=new.sign(OTHER))),
        "key-under-other-name.tlog-proof": str(with_(proof, note=sign_note(new.text, "another-log", KEY))),
        "other-log.tlog-proof": str(with_(proof, note=Checkpoint("another-log", new.size, new.root).sign(KEY))),
        "edited-size.tlog-proof": str(proof).replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n"),
        "edited-root.tlog-proof": str(with_(proof, note=replaced_root(new))),
        "older-checkpoint.tlog-proof": str(with_(proof, note=old.sign(KEY))),
        "control-character.tlog-proof": str(proof).replace(f"\n{SIZE}\n", f"\n{SIZE}\r\n"),
        "cut-off.tlog-proof": str(proof)[:-40],
        "forked.consistency": str(ConsistencyProof(OLD, consistency.path[::-1], consistency.note)),
        "other-old-size.consistency": str(ConsistencyProof(OLD - 1, consistency.path, consistency.note)),
        "path-too-short.consistency": str(ConsistencyProof(OLD, consistency.path[:-1], consistency.note)),
        "smaller-than-old.consistency": str(ConsistencyProof(OLD, (), Checkpoint(ORIGIN, 3, new.root).sign(KEY))),
        "unknown-key.checkpoint": old.sign(OTHER),
        "no-root.checkpoint": sign_note(f"{ORIGIN}\n{OLD}\n", ORIGIN, KEY),
        "wrong-signature.checkpoint": old.sign(KEY).replace(old.text, new.text),
        "empty.tlog-proof": "",
    }  # fmt: skip


def hash_of(span: Span) -> str:
    """In lower-case hex."""
    return span.curr_hash or ""


def replaced_root(new: Checkpoint) -> str:
    """Another root under the old signature."""
    root = base64.b64encode(new.root).decode()
    return new.sign(KEY).replace(root, base64.b64encode(b"r" * 32).decode())


def with_(proof: InclusionProof, **changes: object) -> InclusionProof:
    """The proof with other parts."""
    return InclusionProof(**{**vars(proof), **changes})


def extra(values: dict[str, object]) -> bytes:
    """What stands in a proof beside the proof."""
    return json.dumps({"format": "loglineos/span/v1", "span": values}, ensure_ascii=False).encode()


def write(name: str, text: str) -> None:
    """One of the files."""
    (HERE / name).write_text(text, encoding="utf-8", newline="")


if __name__ == "__main__":
    main()
