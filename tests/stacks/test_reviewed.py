"""What tools say of the templates: cdk-nag's two rule packs, and cfn-lint."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

import stacks.system
from stacks.acknowledged import Acknowledgement, acknowledgements
from stacks.environment import ENVIRONMENTS, Environment
from stacks.synthesis import in_process

# W3010: zones are pinned, so that synthesis asks nobody. W3005: CDK says some dependencies twice.
IGNORED = ["W3010", "W3005"]
Finding = tuple[str, str, str]  # the stack's part, the construct's path in it, the rule


def findings(name: str, outdir: Path) -> tuple[Environment, set[Finding]]:
    app, environment = in_process(name, outdir)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), NIST80053R5Checks(app))
    with contextlib.suppress(RuntimeError):  # found something: the report says what
        app.synth()
    report = json.loads((outdir / "validation-report.json").read_text())
    return environment, set(_found(environment, report))


def _found(environment: Environment, report: dict[str, Any]) -> Iterator[Finding]:
    for plugin in report["pluginReports"]:
        if plugin["pluginName"] == "Construct Annotations":
            continue
        for violation in plugin["violations"]:
            for construct in violation["violatingConstructs"]:
                stack, _, path = construct["constructPath"].partition("/")
                part = stack.removeprefix("loglineos-").removesuffix(environment.suffix)
                yield part, path, violation["ruleName"]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_is_found_that_was_not_acknowledged(name: str, tmp_path: Path) -> None:
    _, found = findings(name, tmp_path)
    assert found == set()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_is_acknowledged_that_is_not_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the proof that the rules ran at all."""
    monkeypatch.setattr(stacks.system, "acknowledge", lambda *_: None)
    environment, found = findings(name, tmp_path)
    assert found

    def is_found(one: Acknowledgement, rule: str) -> bool:
        return any(
            part == one.part and f"{path}/".startswith(f"{one.path}/") and rule == named for part, path, named in found
        )

    stale = [(one.part, one.path, rule) for one in acknowledgements(environment) for rule in one.ids
             if not is_found(one, rule)]  # fmt: skip
    assert stale == []


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_acknowledgement_has_a_reason_of_its_own(name: str, synthesized: Any) -> None:
    environment, _ = synthesized(name)
    assert all(len(one.reason) > 40 and one.reason.endswith(".") for one in acknowledgements(environment))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_cfn_lint_is_silent(name: str, synthesized: Any, tmp_path: Path) -> None:
    _, templates = synthesized(name)
    for part, template in templates.items():
        (tmp_path / f"{part}.json").write_text(json.dumps(template))
    command: list[str | Path] = [
        Path(sys.executable).parent / "cfn-lint",
        "--format",
        "parseable",
        "--ignore-checks",
        *IGNORED,
    ]
    command += ["--", *sorted(tmp_path.glob("*.json"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
