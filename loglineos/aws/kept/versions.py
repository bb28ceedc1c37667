"""A version of an object, as moto holds it and as the store keeps it."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any, cast

from moto.s3.exceptions import MissingKey
from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, S3Backend

from .store import Facts, Gone, Store, Version

# Members of moto's key that are text, numbers or nothing.
_PLAIN = (
    *("encryption", "kms_key_id", "bucket_key_enabled", "lock_mode", "lock_legal_status", "lock_until"),
    *("checksum_algorithm", "checksum_value", "checksum_type", "checksum_parts"),
    *("website_redirect_location", "contentsize", "_etag", "_version_id", "_is_versioned", "_storage_class"),
)


class KeptKey(FakeKey):
    """A version whose content is in the store; memory holds what describes it."""

    kept_in: Store
    kept_row: int

    @property
    def value(self) -> bytes:
        """Raises MissingKey for a version that was deleted while somebody read it."""
        try:
            return self.kept_in.content(self.kept_row)
        except Gone:
            raise MissingKey(key=self.name) from None

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptKey:
        """moto copies all versions to list them: a second view of the same content will do."""
        twin: KeptKey = object.__new__(KeptKey)
        vars(twin).update(vars(self), lock=threading.Lock())
        return twin


class Upload:
    """What moto asks of the upload that a version came by: its id, and the parts by their numbers."""

    def __init__(self, identifier: str, whole: KeptKey, sizes: dict[int, int]) -> None:
        self.id, self.sizes, self.partlist = identifier, sizes, list(sizes)
        self._whole = whole

    @property
    def parts(self) -> Upload:
        return self

    def __getitem__(self, number: int) -> FakeKey:
        begin = sum(size for other, size in self.sizes.items() if other < number)
        value = self._whole.value[begin : begin + self.sizes[number]]
        return FakeKey(str(number), value, self._whole.account_id, self._whole.region_name)

    def dispose(self) -> None:
        """Its parts are the whole's: there is nothing to close."""


def described(backend: S3Backend, version: FakeKey | FakeDeleteMarker) -> Facts:
    """All of a version but its content."""
    facts: Facts = {"modified": version.last_modified.isoformat()}
    if isinstance(version, FakeDeleteMarker):
        return {**facts, "marker": version.version_id}
    _ = version.etag  # computed when it is first asked for
    facts |= {name: getattr(version, name) for name in _PLAIN}
    facts["metadata"] = dict(version.metadata)
    facts["tags"] = backend.tagger.get_tag_dict_for_resource(version.arn)
    if version.multipart is not None:
        facts["upload"] = {"id": version.multipart.id, "parts": list(_sizes(version).items())}
    return facts


def _sizes(version: FakeKey) -> dict[int, int]:
    upload: Any = version.multipart
    if isinstance(upload, Upload):
        return upload.sizes
    sizes = {number: upload.parts[number].contentsize for number in upload.partlist}
    # A part that was uploaded and not named at the end is in no version.
    return sizes if sum(sizes.values()) == version.contentsize else {1: version.contentsize}


def settle(store: Store, key: FakeKey, row: int) -> KeptKey:
    """The store has it now: the content in memory goes, and the same object reads from there."""
    upload = (key.multipart.id, _sizes(key)) if key.multipart is not None else None
    with key.lock:
        key.dispose()
        key.__class__ = KeptKey
    kept = cast(KeptKey, key)
    kept.kept_in, kept.kept_row = store, row
    if upload is not None:
        kept.multipart = cast(Any, Upload(upload[0], kept, upload[1]))
    return kept


def restored(store: Store, backend: S3Backend, bucket: FakeBucket, name: str, versions: list[Version]) -> list[Any]:
    """A key's versions as moto holds them."""
    found: list[Any] = []
    for version in versions:
        facts = version.facts
        if "marker" in facts:
            made: Any = FakeDeleteMarker(key=found[-1] if found else None)  # type: ignore[arg-type]
            made.name, made._version_id = name, facts["marker"]
        else:
            made = _key(store, backend, bucket, name, version)
        made.last_modified = datetime.fromisoformat(facts["modified"])
        made.kept_row = version.row
        found.append(made)
    return found


def _key(store: Store, backend: S3Backend, bucket: FakeBucket, name: str, version: Version) -> KeptKey:
    facts = version.facts
    fresh = FakeKey(name, b"", bucket.account_id, bucket.region_name, bucket_name=bucket.name)
    key = settle(store, fresh, version.row or 0)
    vars(key).update({member: facts[member] for member in _PLAIN})
    key.set_metadata(dict(facts["metadata"]))
    if facts["tags"]:
        backend.tagger.tag_resource(key.arn, backend.tagger.convert_dict_to_tags_input(facts["tags"]))
    if "upload" in facts:
        key.multipart = cast(Any, Upload(facts["upload"]["id"], key, dict(facts["upload"]["parts"])))
    return key
