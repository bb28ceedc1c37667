"""What the release is made of: dependencies with known vulnerabilities, runtimes, documents."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import boto3

from loglineos.health.finding import Finding
from loglineos.routine.others import run
from loglineos.routine.task import Outcome, Round, checked
from stacks.environment import Environment

AUDIT_S: Final = 90.0


def dependencies(round_: Round) -> Outcome:
    """Manual 9.2, "Atualizar dependências npm (se houver CVEs)": of Python and of npm."""
    findings = [_pip(round_), _npm(round_)]
    if any(finding.level == "unknown" for finding in findings):
        return Outcome("person", "the lists of vulnerabilities could not be asked: run these where they can", findings)
    return checked("pinned packages compared with the lists of known vulnerabilities", findings)


def _pip(round_: Round) -> Finding:
    command = "pip-audit --disable-pip --require-hashes -r requirements.txt"
    tool = round_.others.tool("pip-audit")
    if tool is None:
        return Finding("Python packages", "unknown", "pip-audit is not installed", f"`pipx run {command}`")
    ended = run([str(tool), *command.split()[1:], "--format", "json", "--progress-spinner", "off"], AUDIT_S)
    try:
        found = json.loads(ended.output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Finding("Python packages", "unknown", ended.last[:200] or "pip-audit did not answer", f"`{command}`")
    named = [f"{one['name']} {one['version']}: {', '.join(v['id'] for v in one['vulns'])}" for one in found
             if one.get("vulns")]  # fmt: skip
    if not named:
        return Finding("Python packages", "ok", f"{len(found)} pinned, none with a known vulnerability")
    return Finding("Python packages", "failure", "; ".join(named)[:500],
                   "Raise their pins in requirements*.in, then `make lock`, `make test`, and deploy.")  # fmt: skip


def _npm(round_: Round) -> Finding:
    tool = round_.others.tool("npm")
    if tool is None:
        return Finding("npm packages", "unknown", "npm is not installed", "`make setup`, then `npm audit`")
    ended = run([str(tool), "audit", "--json", "--package-lock-only"], AUDIT_S)
    try:
        found: dict[str, Any] = json.loads(ended.output)
    except ValueError:
        found = {"message": ended.last}
    if "metadata" not in found:
        return Finding("npm packages", "unknown", str(found.get("message", "npm did not answer"))[:200], "`npm audit`")
    counts = found["metadata"]["vulnerabilities"]
    if not counts["total"]:
        return Finding("npm packages", "ok", "none with a known vulnerability")
    remedy = "Raise the version in package.json, `npm install --package-lock-only`, `make test`, deploy."
    return Finding("npm packages", "failure", ", ".join(sorted(found.get("vulnerabilities", {})))[:500], remedy)


def runtimes(round_: Round) -> Outcome:
    """Manual 9.4, "Atualização de runtime Node.js (se disponível)": here it is Python's, and PostgreSQL's."""
    newest = _newest_runtime()
    configured = round_.facts.aws.get("functions", {}).get("stage0-loader", {}).get("runtime")
    used = str(configured).removeprefix("python") if configured else Environment.python_version
    findings = []
    if _version(used) < _version(newest):
        remedy = "Set python_version in stacks/environment.py, `make lock`, `make test`, then deploy dev first."
        findings.append(Finding("runtime", "warning", f"Python {used}; Lambda offers {newest}", remedy))
    else:
        findings.append(Finding("runtime", "ok", f"Python {used}, the newest that Lambda offers ({newest})"))
    server = round_.facts.section("pulse").get("server", {}).get("version", "not known")
    findings.append(
        Finding("PostgreSQL", "ok", f"{server}; minor versions come by themselves in the maintenance window")
    )
    return checked("runtimes compared with what the pinned boto3 knows of Lambda", findings)


def _newest_runtime() -> str:
    """Of the API's own description, which comes with boto3: no network."""
    client = boto3.client("lambda", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106
    names = client.meta.service_model.shape_for("Runtime").enum
    newest: str = max((name.removeprefix("python") for name in names if name.startswith("python3.")), key=_version)
    return newest


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def documents(_: Round) -> Outcome:
    """Manual 9.3, "Atualizar documentação": what has changed since a month ago, for whoever reads the documents."""
    folders = ["row", "migrations", "stacks", "lambdas", "loglineos"]
    ended = run(["git", "log", "--since=1 month ago", "--format=%h %s", "--", *folders], 20.0)
    changed = ended.output.splitlines() if ended.code == 0 else []
    said = (f"{len(changed)} changes since a month ago: does docs/ still say what is so?" if ended.code == 0
            else "compare docs/ with what has changed (this is no git checkout)")  # fmt: skip
    return Outcome("person", said, details=changed[:20])
