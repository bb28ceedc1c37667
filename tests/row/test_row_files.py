"""The rows of `row/` are those of the manual's section 2, and hang together."""

from __future__ import annotations

import json
import re
from uuid import UUID

import pytest

from db_migration.rows import read_rows
from ledger.ids import MANIFEST_ID
from ledger.proof import public_key_of, verify
from ledger.settings import asset_directory
from ledger.span import Span
from tests.conftest import ROW_KEY
from tests.stage0_loader.stage import Stage

# Manual, section 2: the last two digits of 00000000-0000-4000-8000-0000000000XX, the name and the seq.
KERNELS = {
    "01": ("run_code_kernel", 5),
    "02": ("observer_bot_kernel", 2),
    "03": ("request_worker_kernel", 2),
    "04": ("policy_agent_kernel", 1),
    "05": ("provider_exec_kernel", 1),
    "06": ("prompt_fetch_kernel", 1),
    "07": ("memory_store_kernel", 3),
    "08": ("app_enrollment_kernel", 1),
}
PROMPTS = {
    "101": ("welcome_message", ["user_name"]),
    "102": ("error_message", ["error_code", "error_detail"]),
    "103": ("user_greeting", ["user_name", "org_name"]),
    "104": ("system_notification", ["notification_type", "content"]),
    "105": ("data_confirmation", ["action", "data_summary"]),
    "106": ("help_instructions", ["feature_name"]),
}
POLICIES = {
    "401": "slow_exec_policy",
    "402": "metrics_exec_duration",
    "403": "daily_exec_rollup",
    "404": "error_report_policy",
    "405": "throttle_policy",
}
PROVIDERS = {"501": "openai_gpt4", "502": "openai_gpt35", "503": "ollama_local"}
PLACE = re.compile(r"\{\{\s*(.*?)\s*\}\}")


def full(digits: str) -> UUID:
    """An id of the manual."""
    return UUID(f"00000000-0000-4000-8000-{digits:0>12}")


@pytest.fixture(scope="module")
def rows() -> dict[UUID, list[Span]]:
    """All rows, as the seed reads them."""
    return read_rows(asset_directory("row"))


def test_every_row_is_one_of_the_manual_with_its_id_name_type_and_seq(rows: dict[UUID, list[Span]]) -> None:
    known = {full(key): ("function", name) for key, (name, _) in KERNELS.items()}
    known |= {full(key): ("prompt", name) for key, (name, _) in PROMPTS.items()}
    known |= {full(key): ("policy", name) for key, name in POLICIES.items()}
    known |= {full(key): ("provider", name) for key, name in PROVIDERS.items()}
    known |= {MANIFEST_ID: ("manifest", "manifest")}
    for span_id, versions in rows.items():
        assert {(row.entity_type, row.name) for row in versions} == {known[span_id]}
    assert {full("201"), full("05"), full("06"), full("07"), *map(full, PROMPTS), *map(full, PROVIDERS)} <= set(rows)


def test_kernels_and_manifest_have_the_manuals_seq(rows: dict[UUID, list[Span]]) -> None:
    for key, (name, seq) in KERNELS.items():
        for row in rows.get(full(key), []):
            assert (row.name, row.seq) >= (name, seq)
    assert rows[full("05")][0].seq == 1
    assert rows[full("06")][0].seq == 1
    assert rows[full("07")][0].seq == 3
    assert rows[MANIFEST_ID][0].seq == 4


def test_rows_belong_to_the_system_are_public_and_active(rows: dict[UUID, list[Span]]) -> None:
    for versions in rows.values():
        for row in versions:
            assert (row.owner_id, row.tenant_id, row.visibility) == ("system", "system", "public")
            assert (row.who, row.did, row.status) == ("system", "released", "active")
            assert (row.this, row.curr_hash, row.is_deleted) == (row.name, None, False)
            assert row.description


def test_the_manifest_lists_the_eight_kernels_and_the_limits(rows: dict[UUID, list[Span]]) -> None:
    metadata = rows[MANIFEST_ID][-1].metadata or {}
    assert metadata["allowed_boot_ids"] == [str(full(key)) for key in KERNELS]
    assert metadata["kernels"] == {name: str(full(key)) for key, (name, _) in KERNELS.items()}
    assert set(metadata["edge_boot_ids"]) <= set(metadata["allowed_boot_ids"])
    assert set(metadata["may_act_as"]) <= set(metadata["allowed_boot_ids"])
    assert metadata["throttle"]["per_tenant_daily_exec_limit"] == 100
    assert metadata["policy"]["slow_ms"] == 5000
    assert metadata["sandbox"]["timeout_ms"] == 5000
    assert metadata["sandbox"]["policy_timeout_ms"] == 3000
    assert (metadata["sandbox"]["memory_mb"], metadata["sandbox"]["recursion"]) == (64, 200)
    assert (metadata["sandbox"]["output_bytes"], metadata["sandbox"]["printed_bytes"]) == (1024**2, 64 * 1024)
    assert "override_pubkey_hex" in metadata


@pytest.mark.parametrize("key", ["01", "05", "06", "07"])
def test_kernels_that_serve_callers_act_as_nobody_else(rows: dict[UUID, list[Span]], key: str) -> None:
    assert str(full(key)) not in (rows[MANIFEST_ID][-1].metadata or {})["may_act_as"]


@pytest.mark.parametrize("key", PROMPTS)
def test_a_prompts_variables_are_the_manuals_and_the_places_of_its_template(
    rows: dict[UUID, list[Span]], key: str
) -> None:
    name, variables = PROMPTS[key]
    row = rows[full(key)][-1]
    metadata = row.metadata or {}
    assert (row.name, metadata["type"], metadata["variables"]) == (name, "template", variables)
    assert set(PLACE.findall(metadata["template"])) == set(variables)
    assert "{" not in PLACE.sub("", metadata["template"])


@pytest.mark.parametrize("path", sorted(asset_directory("row").rglob("*.ndjson")), ids=lambda path: path.name)
def test_code_lives_in_a_python_file_beside_its_row_and_nowhere_else(path: object) -> None:
    lines = [json.loads(line) for line in open(str(path), encoding="utf-8") if line.strip()]  # noqa: PTH123, SIM115
    for values in lines:
        assert "code" not in values
        assert ("code_file" in values) == (values["entity_type"] in ("function", "policy"))
        if "code_file" in values:
            assert values["code_file"] == f"{values['name']}_{values['seq']}.py"


def test_no_python_file_lies_about_without_a_row(rows: dict[UUID, list[Span]]) -> None:
    used = {row.code for versions in rows.values() for row in versions if row.code}
    for path in asset_directory("row").rglob("*.py"):
        assert path.read_text(encoding="utf-8") in used, path.name


def test_what_is_seeded_is_what_the_files_say_in_one_signed_chain(stage: Stage, rows: dict[UUID, list[Span]]) -> None:
    for span_id, versions in rows.items():
        stored = [span for span in stage.spans(id=span_id) if span.seq < 1000]
        assert [span.seq for span in stored] == [row.seq for row in versions]
        previous = None
        for span, row in zip(stored, versions, strict=True):
            assert verify(span, [public_key_of(ROW_KEY)])
            assert span.prev_hash == previous
            assert (span.code, span.metadata, span.at) == (row.code, row.metadata, row.at)
            previous = span.curr_hash
