"""Whose signatures count, and where: the configured keys, and those that the manifest announces (manual 7.4).

Three kinds of keys sign three kinds of spans: `row` keys what the seeder brings (manifest, kernels, policies, prompts,
providers), the `loader`'s what callers make happen, the `checkpoint` key what is sealed. None stands in for another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, ValidationError
from pydantic_core import PydanticCustomError

from .errors import InvalidInput, VerificationFailed
from .ids import MANIFEST_ID
from .proof import span_hash, verify
from .read import BEGINNING, END, Cursor, cursor_of
from .span import Hash, Name, Span, first_problem

Use = Literal["row", "loader", "checkpoint"]
USES: tuple[Use, ...] = get_args(Use)
MAX_KEYS = 100


def _place(value: object) -> object:
    if isinstance(value, Cursor):
        return value
    try:
        return Cursor.parse(str(value))
    except InvalidInput:
        raise PydanticCustomError("place", "the cursor of a checkpoint's last span, its `end`") from None


class Retirement(BaseModel):
    """From which checkpoint on a key's signatures do not count: its `size`, and `end`, where its last span stands.

    Size 0 with `ledger.read.BEGINNING` takes all of them back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    size: Annotated[StrictInt, Field(ge=0, le=2**63 - 1)]
    end: Annotated[Cursor, BeforeValidator(_place)]

    def as_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {"size": self.size, "end": str(self.end)}


class Announced(BaseModel):
    """One entry of the manifest's `keys`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    public_key: Hash
    use: Use
    name: Name | None = None
    retired_at: Retirement | None = None

    def as_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        named = {"name": self.name} if self.name else {}
        retired = {"retired_at": self.retired_at.as_json()} if self.retired_at else {}
        return {"public_key": self.public_key, "use": self.use, **named, **retired}


class _Keys(BaseModel):
    keys: Annotated[list[Announced], Field(max_length=MAX_KEYS)] = []


def announced_keys(metadata: Mapping[str, Any] | None, field: str = "metadata") -> list[Announced]:
    """The `keys` of a manifest's metadata. A misspelt field is refused: it could be a retirement that never happens.

    Raises:
        InvalidInput: names the entry, its field and what was expected.
    """
    try:
        keys = _Keys.model_validate({"keys": (metadata or {}).get("keys", [])}).keys
    except ValidationError as error:
        raise first_problem(error, field, tuple(Announced.model_fields)) from None
    seen: set[str] = set()
    for number, entry in enumerate(keys):
        if entry.public_key in seen:
            raise InvalidInput(f"{field}.keys[{number}].public_key", "expected each key once: it has one use")
        seen.add(entry.public_key)
    return keys


@dataclass(frozen=True)
class KnownKey:
    """A key that is or was trusted. `root`: it is configured; `announced_seq`: of the first manifest that names it."""

    public_key: str
    use: Use
    name: str | None = None
    announced_seq: int | None = None
    retired_at: Retirement | None = None
    root: bool = False

    def counts_at(self, place: Cursor) -> bool:
        """Does its signature on a span at that place count?"""
        return self.retired_at is None or place <= self.retired_at.end


@dataclass(frozen=True)
class Unheard:
    """A manifest version that announces nothing, and why. `tampered`: nobody can have published it like this."""

    seq: int
    reason: str
    tampered: bool


@dataclass(frozen=True)
class KeyRing:
    """The keys that count, by public key (hex), and the manifest's versions that were not heard.

    A version of the manifest is heard if it was signed by a row key that counted at its place, by what the versions
    before it say. What it announces is known for good, and a retirement can be moved earlier, never later or away: so
    versions that repeat only some keys, or an old one that comes back, undo nothing. A key has the use under which it
    was first known.

    Without configured row keys hashes alone are asked for: every intact version is heard, and `trusted("row", …)`
    stays empty.
    """

    keys: Mapping[str, KnownKey]
    unheard: tuple[Unheard, ...] = ()
    row_roots: bool = False

    @classmethod
    def build(cls, roots: Mapping[Use, Collection[str]], versions: Iterable[Span] = ()) -> KeyRing:
        """The ring of these configured public keys, by use, and the manifest's versions.

        Args:
            versions: as stored, in any order. One without a place is about to be appended, after all others.
        """
        keys = {key: KnownKey(key, use, root=True) for use in USES for key in roots.get(use, ())}
        rooted, unheard = bool(roots.get("row")), list[Unheard]()
        before: Span | None = None
        for version in sorted(versions, key=lambda span: span.seq):
            problem = _damage(version, before) or _deaf(version, keys, rooted)
            if problem is None:
                problem = _hear(version, keys)
            if problem is not None:
                unheard.append(problem)
            before = version
        return cls(keys, tuple(unheard), rooted)

    def trusted(self, use: Use, place: Cursor) -> frozenset[str]:
        """The keys whose signatures of that kind count for a span at that place."""
        return frozenset(key.public_key for key in self.keys.values() if self._asks_for(key, use, place))

    def _asks_for(self, key: KnownKey, use: Use, place: Cursor) -> bool:
        return key.use == use and key.counts_at(place) and (use != "row" or self.row_roots)

    def verify(self, span: Span, use: Use) -> bool:
        """`proof.verify` of a span at its place. True if it is signed by a key that counts there.

        Where no key of that kind was ever known, a signature is checked against the key that the span names.

        Raises:
            VerificationFailed: with the reason; a key that was retired is named as such.
        """
        if not self.asks(use):
            return verify(span, None)
        known = self.keys.get(span.public_key or "")
        place = place_of(span)
        if known is not None and known.use == use and not known.counts_at(place) and known.retired_at is not None:
            reason = f"its key {known.public_key[:16]}… was retired from checkpoint size {known.retired_at.size} on"
            raise VerificationFailed(span.id, reason)
        return verify(span, self.trusted(use, place))

    def asks(self, use: Use) -> bool:
        """Does a span of that kind have to be signed by a known key?"""
        return self.row_roots if use == "row" else any(key.use == use for key in self.keys.values())

    def require_heard(self, seq: int) -> None:
        """Raise VerificationFailed if that version of the manifest was not heard, or any is not as it was published."""
        for version in self.unheard:
            if version.tampered or version.seq == seq:
                raise VerificationFailed(MANIFEST_ID, f"version {version.seq} of the manifest: {version.reason}")


def place_of(span: Span) -> Cursor:
    """Where a span stands; one that is not stored yet will stand after all others."""
    return END if span.xid is None else cursor_of(span)


def _damage(version: Span, before: Span | None) -> Unheard | None:
    """What cannot be in a ledger that nobody tampered with, whoever signs."""
    reason: str | None = None
    try:
        intact = span_hash(version.columns()) == version.curr_hash
    except InvalidInput:
        intact = False
    if version.id != MANIFEST_ID or (version.owner_id, version.tenant_id) != ("system", "system"):
        reason = "it is no version of the system's manifest"
    elif not intact:
        reason = "its columns do not match its hash"
    elif before is not None and version.seq == before.seq:
        reason = "there are two of this version"
    elif before is not None and version.prev_hash != before.curr_hash:
        reason = "it does not follow the version before it"
    elif before is not None and place_of(version) <= place_of(before) != END:
        reason = "it stands before the version that it follows"
    return Unheard(version.seq, reason, tampered=True) if reason else None


def _deaf(version: Span, keys: Mapping[str, KnownKey], rooted: bool) -> Unheard | None:
    """Why the version is not heard though it is intact: nobody who may announce keys has signed it."""
    if version.entity_type != "manifest" or version.status != "active" or version.is_deleted:
        return Unheard(version.seq, "it is not an active manifest", tampered=False)
    ring = KeyRing(keys, row_roots=rooted)
    try:
        ring.verify(version, "row")
    except VerificationFailed as error:
        return Unheard(version.seq, error.reason, tampered=False)
    return None


def _hear(version: Span, keys: dict[str, KnownKey]) -> Unheard | None:
    """Take over what the version announces, all or nothing."""
    try:
        entries = announced_keys(version.metadata)
    except InvalidInput as error:
        return Unheard(version.seq, error.message, tampered=False)
    for entry in entries:
        known = keys.get(entry.public_key)
        if known is not None and known.use != entry.use:
            reason = f"metadata.keys: {entry.public_key[:16]}… is a {known.use} key, it cannot become a {entry.use} key"
            return Unheard(version.seq, reason, tampered=False)
    for entry in entries:
        known = keys.get(entry.public_key)
        fresh = KnownKey(entry.public_key, entry.use, entry.name, version.seq, entry.retired_at)
        keys[entry.public_key] = fresh if known is None else _joined(known, entry, version.seq)
    return None


def _joined(known: KnownKey, entry: Announced, seq: int) -> KnownKey:
    """What is known of a key, and what a later version says of it: the earlier retirement holds."""
    announced = seq if known.announced_seq is None else known.announced_seq
    retired = earliest(known.retired_at, entry.retired_at)
    return replace(known, name=entry.name or known.name, announced_seq=announced, retired_at=retired)


def earliest(*said: Retirement | None) -> Retirement | None:
    """The retirement that holds of several that were said."""
    return min((at for at in said if at is not None), key=lambda at: at.end, default=None)


NOTHING_COUNTS = Retirement(size=0, end=BEGINNING)
"""A retirement that takes all of a key's signatures back."""
