"""`keys new` and `keys sign` need no ledger; what they sign, a ledger takes as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from nacl.signing import SigningKey

from ledger.errors import LedgerError
from ledger.proof import parse_signing_key, public_key_of
from loglineos.cli import cli
from loglineos.row_files import ROWS, chain, check_rows, sign_rows
from tests.conftest import LOADER_KEY, ROW_KEY, TestLedger
from tests.db_migration.kit import Rows, row, rows, seqs
from tests.ledger.kit import shared
from tlog.note import NoteKey

__all__ = ["rows", "shared"]
PUBLIC = public_key_of(ROW_KEY)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where one works, with a row key in a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "row.key").write_text(bytes(ROW_KEY).hex())
    (tmp_path / "row.key").chmod(0o600)
    return tmp_path


def keys(*words: str) -> Result:
    return CliRunner().invoke(cli, ["keys", *words])


def said(result: Result) -> str:
    """The sentence of a command that was refused."""
    assert result.exit_code != 0
    error = result.exception
    return error.message if isinstance(error, LedgerError) else " ".join(result.output.split())


@pytest.mark.parametrize("use", ["row", "loader", "checkpoint"])
def test_a_new_key_is_in_a_file_of_its_owner_and_nowhere_else(folder: Path, use: str) -> None:
    result = keys("new", "--use", use, "--origin", "loglineos-test", "--json")
    made = json.loads(result.output)
    file = folder / made["private_key_file"]
    key = parse_signing_key(file.read_text(), "file")
    assert file.stat().st_mode & 0o777 == 0o600
    assert made["public_key"] == public_key_of(key)
    assert file.name == f"{use}-{made['public_key'][:8]}.key"
    assert bytes(key).hex() not in result.output + keys("new", "--use", use, "--origin", "x").output
    if use == "checkpoint":
        log_key = NoteKey.parse(made["log_key"])
        assert (log_key.name, log_key.public_key) == ("loglineos-test", bytes(key.verify_key))
    else:
        assert "log_key" not in made


def test_the_log_of_an_environment_is_known_without_asking_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for words, name in (([], "loglineos-ledger"), (["--env", "staging"], "loglineos-ledger-staging")):
        made = CliRunner().invoke(cli, [*words, "keys", "new", "--use", "checkpoint", "--json"])
        assert NoteKey.parse(json.loads(made.output)["log_key"]).name == name


@pytest.mark.parametrize(
    ("words", "database", "deploys"),
    [
        ([], "", "bash deploy.sh"),
        (["--env", "staging"], "postgresql://localhost/x", "bash deploy.sh staging"),
        ([], "postgresql://localhost/x", "loglineos seed"),
    ],
)
def test_the_next_step_of_a_rotation_is_the_one_that_brings_the_rows_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], database: str, deploys: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    shutil.copytree(ROWS, folder / "row")
    rotate = ["keys", "rotate", "--use", "row", "--key", "row.key", "--new", "11" * 32, "--rows", "row"]
    announced = CliRunner().invoke(cli, [*words, *rotate])
    assert f"Next: commit it and deploy (here: `{deploys}`), then" in announced.output


def test_a_key_is_not_overwritten(folder: Path) -> None:
    assert "is not overwritten" in said(keys("new", "--out", "row.key"))
    assert (folder / "row.key").read_text() == bytes(ROW_KEY).hex()
    assert "cannot write nowhere/row.key: No such file or directory" in said(keys("new", "--out", "nowhere/row.key"))
    assert "without spaces" in said(keys("new", "--use", "checkpoint", "--origin", "my log"))


def test_a_ledger_takes_what_was_signed_offline_version_upon_version(shared: TestLedger, rows: Rows) -> None:
    rows.write(row(800), row(800, 2, name="next"), row(801), file="some.ndjson")
    rows.write(row(800, 5, name="in another file"), file="other.ndjson")
    done = sign_rows([rows.directory], ROW_KEY, again=False)
    assert [signed for _, _, signed in done] == [True] * 4
    taken = rows.seed(shared, ROW_SIGNING_KEY_HEX="", REQUIRE_SIGNED_ROWS="1")
    assert seqs(taken["inserted"]) == [("800", 1), ("800", 2), ("800", 5), ("801", 1)]


def test_one_file_is_signed_within_the_chain_of_its_folder(folder: Path) -> None:
    rows = Rows(folder / "row")
    rows.write(row(800), file="some.ndjson")
    rows.write(row(800, 5, name="later"), file="other.ndjson")
    assert "1 rows signed" in keys("sign", "row/other.ndjson", "--key", "row.key").output
    signed = chain(folder / "row")
    (span,) = [span for span in signed.values() if span.signature]
    assert (span.seq, span.prev_hash) == (5, signed[span.id, 1].curr_hash)
    assert [one.problem for one in check_rows([folder / "row" / "other.ndjson"], frozenset([PUBLIC]))] == [None]


def test_what_is_signed_stays_unless_it_is_signed_again(folder: Path) -> None:
    rows = Rows(folder / "row")
    rows.write(row(800), row(801))
    assert keys("sign", "row", "--key", "row.key").exit_code == 0
    text = (folder / "row" / "rows.ndjson").read_text()
    (folder / "other.key").write_text(bytes(LOADER_KEY).hex())
    (folder / "other.key").chmod(0o600)
    assert "0 rows signed, 2 were already" in keys("sign", "row", "--key", "other.key").output
    assert (folder / "row" / "rows.ndjson").read_text() == text
    assert keys("sign", "row", "--key", "other.key", "--again").exit_code == 0
    assert PUBLIC not in (folder / "row" / "rows.ndjson").read_text()


def test_signing_changes_nothing_else_of_a_line(folder: Path) -> None:
    (folder / "row").mkdir()
    for file in ROWS.rglob("*.*"):
        (folder / "row" / file.parent.name).mkdir(exist_ok=True)
        (folder / "row" / file.parent.name / file.name).write_bytes(file.read_bytes())
    assert keys("sign", "row", "--key", "row.key").exit_code == 0
    for file in ROWS.rglob("*.ndjson"):
        signed = (folder / "row" / file.parent.name / file.name).read_text().splitlines()
        for before, after in zip(file.read_text().splitlines(), signed, strict=True):
            assert after.startswith(before[:-1]), "its own bytes, and two fields more"
    assert keys("sign", "row", "--check", "--public", PUBLIC).exit_code == 0
    assert keys("sign", "row", "--check", "--public", f"{'0' * 64},{PUBLIC}").exit_code == 0


def test_the_check_names_each_row_that_is_not_signed_by_a_key_that_counts(folder: Path) -> None:
    rows = Rows(folder / "row")
    rows.write(row(800), row(801))
    sign_rows([folder / "row"], ROW_KEY, again=False)
    signed = (folder / "row" / "rows.ndjson").read_text()
    (folder / "row" / "more.ndjson").write_bytes(json.dumps(row(802)).encode())
    result = keys("sign", "row", "--check", "--public", PUBLIC)
    assert said(result) == "1 of 3 rows are not signed by a key that counts: `keys sign`"
    assert "more.ndjson line 1: row 802 seq 1: it is not signed" in result.output
    (folder / "row" / "rows.ndjson").write_text(signed.replace('"did": "released"', '"did": "changed"', 1))
    found = json.loads(keys("sign", "row", "--check", "--public", PUBLIC, "--json").output)
    assert [problem["problem"] for problem in found["problems"]] == [
        "it is not signed, and trusted keys are configured", "its signature is wrong"
    ]  # fmt: skip
    assert "rows.ndjson line 1.signature: is not of this row" in said(keys("sign", "row", "--key", "row.key"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sign", "row"], "give either --key FILE, or --check"),
        (["sign", "row", "--check"], "give either --key FILE, or --check"),
        (["sign", "row", "--key", "row.key", "--check", "--public", PUBLIC], "give either --key FILE, or --check"),
        (["sign", "row", "--check", "--public", "beef"], "expected 64 hex digits"),
        (["sign", "row", "--key", "open.key"], "others can read open.key; run: chmod 600 open.key"),
        (["sign", "row", "--key", "none.key"], "cannot read none.key"),
        (["sign", "row", "--key", "wrong.key"], "64 hex digits"),
        (["sign", "nowhere", "--key", "row.key"], "does not exist"),
        (["rotate", "--use", "row", "--new", PUBLIC], "a new row key is announced by the old one"),
        (["rotate", "--use", "row", "--new", PUBLIC, "--key", "row.key"], "is the key of --key: give another"),
        (["rotate", "--use", "row", "--new", "none.key", "--key", "row.key"], "cannot read none.key"),
        (["rotate", "--use", "row", "--new", "0" * 64, "--key", "row.key", "--rows", "row"], "the manifest among them"),
    ],
)
def test_what_is_missing_or_wrong_is_named(folder: Path, words: list[str], sentence: str) -> None:
    Rows(folder / "row").write(row(800))
    for name, text in (("open.key", bytes(SigningKey.generate()).hex()), ("wrong.key", "no key at all")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o644 if name == "open.key" else 0o600)
    result = keys(*words)
    assert sentence in said(result)
    assert "no key at all" not in result.output
