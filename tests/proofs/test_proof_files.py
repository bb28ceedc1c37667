"""Proofs that are kept as files: the good ones hold, each of the bad ones is refused for its own reason."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from nacl.signing import SigningKey

from ledger.proof import seal
from loglineos.proof_commands import verify_command
from tests.proofs import make
from tlog.proofs import InclusionProof

HERE = Path(__file__).parent
REASONS: dict[str, str] = tomllib.loads((HERE / "reasons.toml").read_text())


def verify(file: Path, *arguments: str) -> Result:
    """`loglineos verify FILE --key good.key`."""
    old = ["--old", str(HERE / "good.checkpoint")] if file.suffix == ".consistency" else []
    return CliRunner().invoke(verify_command, [str(file), "--key", str(HERE / "good.key"), *old, *arguments])


@pytest.mark.parametrize(
    "name", ["good.tlog-proof", "good-hash-only.tlog-proof", "good.consistency", "good.checkpoint"]
)
def test_good_ones_hold(name: str) -> None:
    result = verify(HERE / name, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert (facts["ok"], facts["log"]) == (True, "loglineos-example")


def test_a_span_is_shown_with_who_signed_it() -> None:
    result = verify(HERE / "good.tlog-proof")
    assert "proved       the log has this span" in result.output
    assert "index        137" in result.output
    assert "用户偏好深色模式" in result.output


def test_who_signed_it_is_told_apart_from_what_is_proved(tmp_path: Path) -> None:
    """Anybody can sign the span in the file anew: no hash covers the signature."""
    mallory = SigningKey(b"m" * 32)
    proof = InclusionProof.parse((HERE / "good.tlog-proof").read_text())
    anew = make.extra(seal(make.span(make.INDEX), mallory).model_dump(mode="json", exclude_none=True))
    path = tmp_path / "anew.tlog-proof"
    path.write_text(str(make.with_(proof, extra=anew)))
    key = bytes(mallory.verify_key).hex()
    proved, line, claimed = verify(path).output.partition("Not covered by the log")
    assert line
    assert key not in proved
    assert f"signed by    {key}" in claimed
    facts = json.loads(verify(path, "--json").output)
    assert facts.pop("not_covered")["public_key"] == key
    assert key not in json.dumps(facts)


@pytest.mark.parametrize("name", sorted(path.name for path in (HERE / "bad").iterdir()))
def test_bad_ones_are_refused(name: str) -> None:
    result = verify(HERE / "bad" / name, "--json")
    assert result.exit_code == 1
    error = json.loads(result.output)["error"]
    assert error["message"].startswith(REASONS[name])


def test_no_reason_without_its_file() -> None:
    assert {path.name for path in (HERE / "bad").iterdir()} == set(REASONS)


def test_the_files_are_made_by_the_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    monkeypatch.setattr(make, "HERE", tmp_path)
    make.main()
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path: (HERE / path).read_bytes() for path in made}
    assert made == kept


def test_a_key_that_is_none() -> None:
    result = CliRunner().invoke(verify_command, [str(HERE / "good.checkpoint"), "--key", "loglineos+00000000+AAAA"])
    assert result.exit_code == 2
    assert "Invalid value for --key: a verification key such as" in result.output


def test_without_a_key_it_says_what_prints_it() -> None:
    result = CliRunner().invoke(verify_command, [str(HERE / "good.checkpoint")], env={"LOGLINEOS_LOG_KEY": ""})
    assert result.exit_code == 2
    assert "Missing option '--key'" in result.output
    assert "as `loglineos checkpoint show` prints it" in result.output


def test_a_file_of_keys_that_is_not_there_is_named() -> None:
    result = CliRunner().invoke(verify_command, [str(HERE / "good.checkpoint"), "--key", "nowhere.key"])
    assert (result.exit_code, "there is no file nowhere.key" in result.output) == (2, True)


def test_a_proof_of_consistency_needs_the_older_checkpoint() -> None:
    file = str(HERE / "good.consistency")
    result = CliRunner().invoke(verify_command, [file, "--key", str(HERE / "good.key")])
    assert result.exit_code == 2
    assert "give --old FILE" in result.output


@pytest.mark.parametrize("name", ["good.checkpoint", "good.tlog-proof"])
def test_an_older_checkpoint_is_not_left_aside(name: str) -> None:
    """Nobody shall believe that two checkpoints were compared because both were named."""
    old = ["--old", str(HERE / "good.checkpoint")]
    result = CliRunner().invoke(verify_command, [str(HERE / name), "--key", str(HERE / "good.key"), *old])
    assert result.exit_code == 2
    assert "--old is for a proof of consistency, and FILE is none" in result.output
