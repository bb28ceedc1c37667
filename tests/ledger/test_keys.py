"""Which keys count: what the manifest's versions announce and retire, and what nobody can make them say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from nacl.signing import SigningKey

from ledger.errors import InvalidInput, VerificationFailed
from ledger.ids import MANIFEST_ID, new_id
from ledger.keys import NOTHING_COUNTS, USES, KeyRing, Use, announced_keys
from ledger.proof import public_key_of, seal
from ledger.read import BEGINNING, END, Cursor
from ledger.span import Span, parse_span

ROOT, NEXT, THIRD = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
LOADER, CHECKPOINT = SigningKey(b"l" * 32), SigningKey(b"c" * 32)
R, N, T, L, C = (public_key_of(key) for key in (ROOT, NEXT, THIRD, LOADER, CHECKPOINT))
Roots = Mapping[Use, list[str]]
ROOTS: Roots = {"row": [R]}
WITH_LOADER: Roots = {"row": [R], "loader": [L]}
ALL: Roots = {"row": [R], "loader": [L], "checkpoint": [C]}
Entry = dict[str, Any]


def place(n: int) -> Cursor:
    return Cursor(0, 100 + n, n)


def entry(key: str, use: str = "row", until: Cursor | None = None, **more: Any) -> Entry:
    retired = {"retired_at": {"size": 10, "end": str(until)}} if until else {}
    return {"public_key": key, "use": use, **retired, **more}


def version(before: Span | None, key: SigningKey | None, *keys: Entry, at: int | None = None, **values: Any) -> Span:
    """The next manifest version, stored at place `at` (by default its seq)."""
    seq = 0 if before is None else before.seq + 1
    span = parse_span(
        {
            "id": MANIFEST_ID, "seq": seq, "entity_type": "manifest", "who": "system", "did": "released",
            "this": "manifest", "at": "2026-01-31T12:00:00Z", "owner_id": "system", "tenant_id": "system",
            "visibility": "public", "status": "active", "metadata": {"allowed_boot_ids": [], "keys": list(keys)},
            "prev_hash": before.curr_hash if before else None, **values,
        }
    )  # fmt: skip
    return stored(seal(span, key), seq if at is None else at)


def stored(span: Span, at: int) -> Span:
    return span.with_values(era=0, xid=place(at).xid, position=place(at).position)


def chain(*links: tuple[SigningKey | None, list[Entry]]) -> list[Span]:
    versions: list[Span] = []
    for key, keys in links:
        versions.append(version(versions[-1] if versions else None, key, *keys))
    return versions


def kernel(key: SigningKey | None, at: int | None) -> Span:
    span = parse_span(
        {"id": new_id(), "entity_type": "function", "who": "system", "did": "released", "this": "kernel",
         "at": "2026-01-31T12:00:00Z", "owner_id": "system", "tenant_id": "system"}
    )  # fmt: skip
    return seal(span, key) if at is None else stored(seal(span, key), at)


def reasons(ring: KeyRing) -> Mapping[int, str]:
    return {version.seq: version.reason for version in ring.unheard}


def test_configured_keys_count_everywhere_each_for_its_use() -> None:
    ring = KeyRing.build(ALL)
    for use, key in zip(USES, (R, L, C), strict=True):
        assert ring.trusted(use, BEGINNING) == ring.trusted(use, END) == {key}


def test_a_key_of_one_use_does_not_count_for_another() -> None:
    ring = KeyRing.build(ALL, chain((ROOT, [entry(N), entry(T, "loader")])))
    for key in (LOADER, CHECKPOINT, THIRD):
        with pytest.raises(VerificationFailed) as failure:
            ring.verify(kernel(key, 5), "row")
        assert "not a trusted one" in failure.value.reason
    assert ring.verify(kernel(NEXT, 5), "row")
    assert ring.verify(kernel(THIRD, 5), "loader")
    with pytest.raises(VerificationFailed):
        ring.verify(kernel(ROOT, 5), "loader")


def test_a_trusted_version_announces_keys_and_those_announce_others() -> None:
    ring = KeyRing.build(ROOTS, chain((ROOT, [entry(N), entry(L, "loader", name="prod")]), (NEXT, [entry(T)])))
    assert ring.trusted("row", place(9)) == {R, N, T}
    assert ring.trusted("loader", place(9)) == {L}
    assert (ring.keys[L].name, ring.keys[L].announced_seq, ring.keys[R].announced_seq) == ("prod", 0, None)
    assert not ring.unheard


def test_what_was_announced_once_stays_known_when_later_versions_do_not_repeat_it() -> None:
    ring = KeyRing.build(ROOTS, chain((ROOT, [entry(N)]), (ROOT, []), (NEXT, [])))
    assert ring.trusted("row", END) == {R, N}


def test_a_retired_key_counts_up_to_its_place_and_not_after() -> None:
    ring = KeyRing.build(ROOTS, chain((ROOT, [entry(N)]), (NEXT, [entry(R, until=place(0))])))
    assert ring.trusted("row", place(0)) == {R, N}
    assert ring.trusted("row", place(1)) == {N}
    assert ring.verify(kernel(ROOT, 0), "row")
    for at in (1, None):  # a span that is not stored yet will stand after all others
        with pytest.raises(VerificationFailed) as failure:
            ring.verify(kernel(ROOT, at), "row")
        assert "was retired from checkpoint size 10 on" in failure.value.reason


def test_all_signatures_of_a_key_can_be_taken_back() -> None:
    taken_back = {"public_key": R, "use": "row", "retired_at": NOTHING_COUNTS.as_json()}
    ring = KeyRing.build(ROOTS, chain((ROOT, [entry(N)]), (NEXT, [taken_back])))
    assert ring.trusted("row", place(0)) == {N}, "yet what it announced before stays known"


def test_a_version_signed_by_a_retired_key_announces_nothing() -> None:
    versions = chain((ROOT, [entry(N)]), (NEXT, [entry(R, until=place(0))]), (ROOT, [entry(T)]))
    ring = KeyRing.build(ROOTS, versions)
    assert ring.trusted("row", END) == {N}
    assert "retired" in reasons(ring)[2]
    with pytest.raises(VerificationFailed):
        ring.require_heard(2)


def test_a_retired_key_cannot_stand_its_version_back_among_the_earlier_ones() -> None:
    first, second = chain((ROOT, [entry(N)]), (NEXT, [entry(R, until=place(0))]))
    back_dated = version(second, ROOT, entry(T), at=-50)
    ring = KeyRing.build(ROOTS, [first, second, back_dated])
    assert T not in ring.keys
    assert "stands before" in reasons(ring)[2]
    with pytest.raises(VerificationFailed):
        ring.require_heard(1)


@pytest.mark.parametrize("signer", [None, THIRD, LOADER], ids=["nobody", "a stranger", "the loader"])
def test_an_untrusted_version_announces_and_retires_nothing(signer: SigningKey | None) -> None:
    forged = [entry(T), entry(N, "checkpoint"), entry(R, until=BEGINNING)]
    ring = KeyRing.build(WITH_LOADER, chain((ROOT, []), (signer, forged), (ROOT, [])))
    assert ring.trusted("row", END) == {R}
    assert not ring.trusted("checkpoint", END)
    assert list(reasons(ring)) == [1]
    ring.require_heard(2)


def test_a_key_cannot_announce_itself() -> None:
    ring = KeyRing.build(ROOTS, chain((NEXT, [entry(N)]), (NEXT, [entry(N)])))
    assert ring.trusted("row", END) == {R}


def test_a_retirement_is_moved_earlier_but_never_later_or_away() -> None:
    versions = chain(
        (ROOT, [entry(N), entry(L, "loader", until=place(5))]),
        (ROOT, [entry(L, "loader", until=place(9))]),
        (ROOT, [entry(L, "loader")]),
    )
    ring = KeyRing.build(ROOTS, versions)
    assert ring.trusted("loader", place(5)) == {L}
    assert not ring.trusted("loader", place(6))
    earlier = version(versions[-1], ROOT, entry(L, "loader", until=place(2)))
    assert not KeyRing.build(ROOTS, [*versions, earlier]).trusted("loader", place(3))


def test_the_order_in_which_versions_are_given_changes_nothing() -> None:
    versions = chain((ROOT, [entry(N)]), (NEXT, [entry(R, until=place(0))]), (NEXT, [entry(T)]))
    ring = KeyRing.build(ROOTS, versions)
    assert KeyRing.build(ROOTS, reversed(versions)) == ring
    assert KeyRing.build(ROOTS, [versions[2], versions[0], versions[1]]) == ring


def test_a_key_keeps_the_use_under_which_it_was_first_known() -> None:
    ring = KeyRing.build(WITH_LOADER, chain((ROOT, [entry(L), entry(T)])))
    assert ring.trusted("row", END) == {R}, "all of the version or nothing"
    assert "cannot become a row key" in reasons(ring)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metadata": {"keys": []}}, "do not match its hash"),
        ({"seq": 7}, "do not match its hash"),
        ({"owner_id": "mallory"}, "no version of the system's manifest"),
        ({"id": new_id()}, "no version of the system's manifest"),
        ({"xid": place(-1).xid}, "stands before"),
    ],
)
def test_a_version_that_was_changed_is_noticed(change: dict[str, Any], said: str) -> None:
    first, second = chain((ROOT, []), (ROOT, [entry(N)]))
    ring = KeyRing.build(ROOTS, [first, second.with_values(**change)])
    assert N not in ring.keys
    assert any(said in problem.reason and problem.tampered for problem in ring.unheard)
    with pytest.raises(VerificationFailed):
        ring.require_heard(99)


def test_two_of_one_version_are_noticed() -> None:
    first, fork = chain((ROOT, [])) + chain((ROOT, [entry(N)]))
    with pytest.raises(VerificationFailed) as failure:
        KeyRing.build(ROOTS, [first, fork]).require_heard(99)
    assert "two of this version" in failure.value.reason


def test_a_version_that_was_taken_out_is_noticed() -> None:
    versions = chain((ROOT, [entry(N)]), (NEXT, [entry(R, until=place(0))]), (NEXT, []))
    with pytest.raises(VerificationFailed) as failure:
        KeyRing.build(ROOTS, [versions[0], versions[2]]).require_heard(2)
    assert "does not follow" in failure.value.reason


def test_a_signature_that_was_taken_off_makes_a_version_unheard() -> None:
    first, second = chain((ROOT, []), (ROOT, [entry(N)]))
    ring = KeyRing.build(ROOTS, [first, second.with_values(signature=None, public_key=None)])
    assert N not in ring.keys
    other = second.with_values(signature=seal(second, THIRD).signature)
    assert "signature is wrong" in reasons(KeyRing.build(ROOTS, [first, other]))[1]


@pytest.mark.parametrize("change", [{"is_deleted": True}, {"status": "draft"}])
def test_only_an_active_manifest_announces(change: dict[str, Any]) -> None:
    assert N not in KeyRing.build(ROOTS, [version(None, ROOT, entry(N), **change)]).keys


def test_an_old_root_can_leave_the_configuration_once_a_manifest_of_its_successor_names_it() -> None:
    versions = chain((ROOT, [entry(N)]), (NEXT, [entry(N), entry(R, until=place(0))]))
    ring = KeyRing.build({"row": [N]}, versions)
    assert ring.verify(kernel(ROOT, 0), "row"), "what it signed in its time stays valid"
    with pytest.raises(VerificationFailed):
        ring.verify(kernel(ROOT, 1), "row")
    forked = [versions[0], version(versions[0], ROOT, entry(T))]
    assert KeyRing.build({"row": [N]}, forked).trusted("row", END) == {N}, "it can fork nothing any more"


def test_with_every_key_retired_nothing_is_trusted() -> None:
    ring = KeyRing.build(ROOTS, chain((ROOT, [entry(R, until=BEGINNING)])))
    for span in (kernel(ROOT, 3), kernel(None, 3)):
        with pytest.raises(VerificationFailed):
            ring.verify(span, "row")


def test_without_roots_hashes_alone_are_checked_and_the_manifest_is_believed_like_the_rest() -> None:
    ring = KeyRing.build({}, chain((None, [entry(L, "loader"), entry(N)])))
    assert ring.verify(kernel(None, 3), "row") is False
    assert not ring.trusted("row", END)
    assert ring.trusted("loader", END) == {L}
    with pytest.raises(VerificationFailed):
        ring.verify(kernel(None, 3).with_values(did="changed"), "row")


@pytest.mark.parametrize(
    ("keys", "field", "expected"),
    [
        ({}, "metadata.keys", "valid list"),
        ([{"use": "row"}], "metadata.keys.0.public_key", "is required"),
        ([entry("beef")], "metadata.keys.0.public_key", "text"),
        ([entry(N, "signing")], "metadata.keys.0.use", "'row', 'loader' or 'checkpoint'"),
        ([entry(N, retired={"size": 1})], "metadata.keys.0.retired", "unknown field"),
        ([entry(N, retired_at={"size": 1})], "metadata.keys.0.retired_at.end", "is required"),
        ([entry(N, retired_at={"size": -1, "end": str(END)})], "metadata.keys.0.retired_at.size", "greater than"),
        ([entry(N, retired_at={"size": 1, "end": "x"})], "metadata.keys.0.retired_at.end", "cursor of a checkpoint"),
        ([entry(N), entry(N, "loader")], "metadata.keys[1].public_key", "each key once"),
    ],
)
def test_what_is_no_announcement_is_refused_by_its_field(keys: Any, field: str, expected: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        announced_keys({"keys": keys})
    assert failure.value.details["field"] == field
    assert expected in failure.value.details["expected"]


def test_a_version_with_a_malformed_announcement_says_nothing_at_all() -> None:
    ring = KeyRing.build(ROOTS, chain((ROOT, [entry(N), {"public_key": T, "use": "signing"}])))
    assert ring.trusted("row", END) == {R}
    assert "metadata.keys.1.use" in reasons(ring)[0]


def test_announcements_are_read_as_they_are_written() -> None:
    keys = [entry(N, until=place(4), name="prod"), entry(L, "loader"), {**entry(C, "checkpoint")}]
    assert [key.as_json() for key in announced_keys({"keys": keys})] == [
        {"public_key": N, "use": "row", "name": "prod", "retired_at": {"size": 10, "end": str(place(4))}},
        {"public_key": L, "use": "loader"},
        {"public_key": C, "use": "checkpoint"},
    ]
    assert announced_keys(None) == announced_keys({}) == []
