"""`prove` and `fsck` as commands; what they write is checked with nothing but the key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from db_migration.notary import seal
from loglineos import proving
from loglineos.cli import cli
from loglineos.proof_commands import verify_command
from tests.conftest import LOADER_KEY, ROW_KEY
from tests.fsck.kit import KEY, ORIGIN, Sealed, name


@pytest.fixture
def run(sealed: Sealed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sealed:
    """Commands go to the sealed ledger and its log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", sealed.ledger.url("postgres"))
    monkeypatch.setenv("ARCHIVE_LOCATION", str(tmp_path))  # the log is in its folder `log`
    monkeypatch.setenv("LOGLINEOS_DIRECTORY", str(tmp_path / "local"))
    return sealed


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_each_sealed_span_is_proved(run: Sealed) -> None:
    spans = run.rows()[: run.size]
    for index in (0, 1, len(spans) // 2, len(spans) - 1):
        span = spans[index]
        done = call("prove", str(span.id), "--seq", str(span.seq), "--json")
        assert done.exit_code == 0, done.exception
        told = json.loads(done.output)
        assert (told["index"], told["file"]) == (index, f"{span.id}-{span.seq}.tlog-proof")
        proved = CliRunner().invoke(verify_command, [told["file"], "--key", str(KEY), "--json"])
        assert proved.exit_code == 0, proved.output
        facts = json.loads(proved.output)
        assert (facts["hash"], facts["size"], facts["log"]) == (span.curr_hash, run.size, ORIGIN)


def test_against_an_older_checkpoint(run: Sealed) -> None:
    first = int(next(run.log.names("checkpoints/")).rpartition("/")[2])
    span = run.rows()[3]
    done = call("prove", str(span.id), "--size", str(first), "-o", "old.tlog-proof")
    assert done.exit_code == 0, done.exception
    proved = CliRunner().invoke(verify_command, ["old.tlog-proof", "--key", str(KEY), "--json"])
    assert json.loads(proved.output)["size"] == first


def test_the_hash_alone_tells_nothing_of_the_span(run: Sealed) -> None:
    span = run.rows()[run.size - 2]
    call("prove", str(span.id), "--hash-only", "-o", "hash.tlog-proof")
    text = Path("hash.tlog-proof").read_text()
    proved = json.loads(CliRunner().invoke(verify_command, ["hash.tlog-proof", "--key", str(KEY), "--json"]).output)
    assert (proved["hash"], proved["span"]) == (span.curr_hash, None)
    assert len(text) < 2000


def test_what_is_not_sealed_yet(run: Sealed) -> None:
    done = call("prove", str(run.rows()[-1].id))
    assert "no checkpoint of loglineos-tests has sealed the span yet: run `loglineos checkpoint`" in str(done.exception)


def test_an_unknown_span(run: Sealed) -> None:
    assert "expected the id of a span" in call("prove", "x").output
    unknown = "01900000-0000-7000-8000-000000000000"
    assert f"the ledger has no span {unknown} seq 3" in str(call("prove", unknown, "--seq", "3").exception)


def test_a_span_that_was_tampered_with_is_not_proved(run: Sealed) -> None:
    span = run.rows()[run.size - 2]
    run.tamper("UPDATE ledger.universal_registry SET name = 'x' WHERE id = %s", span.id)
    assert "its columns do not match its hash. Run `loglineos fsck`" in str(call("prove", str(span.id)).exception)


def test_a_span_of_a_long_backlog_is_proved(run: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its checkpoints stand behind all of its spans: the one that sealed a span may be any of them."""
    spans = run.write(7)
    monkeypatch.setattr(seal, "MAX_SPANS", 2)
    run.seal()
    monkeypatch.setattr(proving, "PAGE", 2)
    there = [span.id for span in run.rows()]
    for span in (spans[0], spans[-1]):
        done = call("prove", str(span.id), "--json")
        assert done.exit_code == 0, done.exception
        assert json.loads(done.output)["index"] == there.index(span.id)


def test_no_proof_is_made_of_a_damaged_tile(run: Sealed) -> None:
    span = run.rows()[3]
    tile = next(run.log.path / name for name in run.log.names("tile/0/") if name.endswith(f"/{run.size}"))
    damaged = bytearray(tile.read_bytes())
    damaged[-1] ^= 1
    tile.write_bytes(damaged)
    done = call("prove", str(span.id), "--seq", str(span.seq), "-o", "none.tlog-proof")
    assert "do not lead from span" in str(done.exception)
    assert not Path("none.tlog-proof").exists()


def fsck(*arguments: str) -> Result:
    row, loader = bytes(ROW_KEY.verify_key).hex(), bytes(LOADER_KEY.verify_key).hex()
    return call("fsck", "--key", str(KEY), "--row-key", row, "--loader-key", loader, *arguments)


def test_fsck_of_a_sound_ledger(run: Sealed) -> None:
    Path("outside").write_text(run.outside[-1][1])
    done = fsck("--checkpoint", "outside", "--jobs", "1")
    assert (done.exit_code, "Nothing is wrong." in done.output) == (0, True), done.output
    told = json.loads(fsck("--json", "--jobs", "1").output)
    assert (told["ok"], told["spans"], told["sealed"]) == (True, len(run.rows()), run.size)


def test_fsck_names_the_first_divergent_span(run: Sealed) -> None:
    victim = run.rows()[run.size - 5]
    run.tamper("UPDATE ledger.universal_registry SET name = 'x' WHERE (id, seq) = (%s, %s)", victim.id, victim.seq)
    done = fsck("--jobs", "1")
    assert done.exit_code == 1
    first = done.output.partition("findings. The first:\n")[2].splitlines()[0]
    assert first.startswith(f"  edited               number {run.size - 5}, span {name(victim)}: ")
    told = json.loads(fsck("--json", "--jobs", "1").output)
    assert told["findings"][0] == {
        "kind": "edited", "span": name(victim), "index": run.size - 5, "message": told["findings"][0]["message"],
    }  # fmt: skip


def test_fsck_without_a_key(run: Sealed) -> None:
    done = call("fsck")
    assert (done.exit_code, "--key" in done.output) == (2, True)
