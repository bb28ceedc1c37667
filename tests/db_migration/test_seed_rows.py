"""Rows are read from NDJSON with their code beside them; whatever is wrong names file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from db_migration.rows import read_rows
from ledger.errors import InvalidInput
from ledger.settings import asset_directory
from tests.db_migration.kit import Rows, row


def test_rows_of_all_folders_are_read_with_their_code(rows: Rows) -> None:
    (rows.directory / "kernels").mkdir()
    (rows.directory / "kernels" / "one_1.py").write_text("print('é')\n", encoding="utf-8")
    rows.write(row(1, 1, entity_type="function", code_file="one_1.py"), b"  ", file="kernels/one.ndjson")
    rows.write(row(2, 3), row(2, 1), row(2, 2), file="prompts/two.ndjson")
    found = {str(span_id)[-1]: versions for span_id, versions in read_rows(rows.directory).items()}
    assert [span.seq for span in found["2"]] == [1, 2, 3]
    (kernel,) = found["1"]
    assert kernel.code == "print('é')\n"
    assert (kernel.owner_id, kernel.tenant_id, kernel.visibility) == ("system", "system", "public")


def test_our_own_rows_are_readable_and_have_reserved_ids() -> None:
    assert len(read_rows(asset_directory("row"))) >= 9


WRONG: dict[str, tuple[Any, str, str]] = {
    "no JSON": (b"{nonsense", "", "one JSON object a line"),
    "two objects": (b"{} {}", "", "one JSON object a line"),
    "a list": ([1], "", "one JSON object a line"),
    "no Unicode": (b'{"name": "\xff"}', "", "one JSON object a line"),
    "no id": ({"seq": 1}, ".id", "is required"),
    "a malformed id": (row(3, id="x"), ".id", "UUID"),
    "an id that is not reserved": (row(3, id="11111111-0000-4000-8000-000000000003"), ".id", "000"),
    "a seq as text": ({**row(3), "seq": "1"}, ".seq", "integer"),
    "a negative seq": (row(3, seq=-1), ".seq", "greater"),
    "an unknown column": (row(3, titel="x"), ".titel", "unknown field"),
    "a foreign owner": (row(3, owner_id="alice"), ".owner_id", "belong to the system"),
    "a foreign tenant": (row(3, tenant_id="acme"), ".tenant_id", "belong to the system"),
    "a private row": (row(3, visibility="private"), ".visibility", "belong to the system"),
    "a large integer": (row(3, metadata={"n": [2**60]}), ".metadata.n[0]", "2^53"),
    "code and a file": (row(3, code="x", code_file="here.py"), ".code", "code_file"),
    "a file that is missing": (row(3, code_file="gone.py"), ".code_file", "a file beside the row"),
    "a folder as the file": (row(3, code_file="."), ".code_file", "a file beside the row"),
    "an empty name of a file": (row(3, code_file=""), ".code_file", "a file beside the row"),
    "a number as the file": (row(3, code_file=5), ".code_file", "a file beside the row"),
    "a NUL in the file's name": (row(3, code_file="a\x00b"), ".code_file", "a file beside the row"),
    "code that is no UTF-8": (row(3, code_file="latin.py"), ".code_file", "UTF-8"),
    "code with a NUL": (row(3, code_file="nul.py"), ".code", "NUL"),
    "a malformed signature": (row(3, signature="00", public_key="00" * 32), ".signature", "pattern"),
    "a signature without its key": (row(3, signature="00" * 64), ".public_key", ""),
    "a key without its signature": (row(3, public_key="00" * 32), ".signature", ""),
    "a place in the ledger": (row(3, position=5), ".position", ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_row_is_named_by_file_line_and_field(rows: Rows, fault: str) -> None:
    bad, field, expected = WRONG[fault]
    rows.write(row(1), b"", bad, file="prompts/mixed.ndjson")
    (rows.directory / "prompts" / "latin.py").write_bytes("é".encode("latin-1"))
    (rows.directory / "prompts" / "nul.py").write_bytes(b"a\x00b")
    with pytest.raises(InvalidInput) as refusal:
        read_rows(rows.directory)
    assert refusal.value.details["field"] == f"prompts/mixed.ndjson line 3{field}"
    assert expected in refusal.value.details["expected"]


def test_the_answer_carries_the_place(rows: Rows, shared: Any) -> None:
    rows.write(row(1), {**row(2), "who": ""})
    error = rows.seed(shared)["error"]
    assert (error["code"], error["field"]) == ("invalid_input", "rows.ndjson line 2.who")


@pytest.mark.parametrize(
    "way", ["../secret.py", "../../secret.py", "/etc/hostname", "sub/../../secret.py", "..", "....//secret.py"]
)
def test_a_code_file_never_leads_out_of_its_folder(rows: Rows, way: str) -> None:
    (rows.directory / "secret.py").write_text("the secret")
    rows.write(row(1, code_file=way), file="kernels/one.ndjson")
    with pytest.raises(InvalidInput, match="a file beside the row"):
        read_rows(rows.directory)


def test_a_link_out_of_the_folder_is_not_followed(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("the secret")
    rows.write(row(1, code_file="one.py"))
    (rows.directory / "one.py").symlink_to(secret)
    with pytest.raises(InvalidInput):
        read_rows(rows.directory)


def test_the_same_seq_twice_is_refused(rows: Rows) -> None:
    rows.write(row(1, 2), file="a.ndjson")
    rows.write(row(1, 2, name="other"), file="b.ndjson")
    with pytest.raises(InvalidInput, match="stands twice"):
        read_rows(rows.directory)


def test_no_rows_at_all_are_an_incomplete_package(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="incomplete"):
        read_rows(tmp_path)
