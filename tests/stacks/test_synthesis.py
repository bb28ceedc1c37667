"""Synthesis asks nobody, says the same twice, and stops with a sentence."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stacks.bundling import SOURCE
from stacks.environment import ENVIRONMENTS
from stacks.rows import newest_seqs
from stacks.synthesis import committed_context, in_process, synthesize


def alone() -> list[str]:
    """The command that takes the network away, where the machine has one."""
    command = ["unshare", "--net", "--map-root-user"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return command


def run_app(repository: Path, outdir: Path, context: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
    """As the CDK command line does, with nothing to sign in with and nobody to ask."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    environment |= {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_OUTDIR": str(outdir),
        "CDK_CONTEXT_JSON": json.dumps({**committed_context(), **context}),
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "PIP_RETRIES": "0",  # nobody is there the second time either
    }
    command = [*alone(), sys.executable, "app.py"]
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)


def contents(folder: Path) -> dict[str, bytes]:
    """What is deployed. The metadata files beside it hold CDK's stack traces, which name temporary files."""
    kinds = (".template.json", ".assets.json", "manifest.json")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(kinds)}


def test_two_syntheses_are_the_same_bytes_without_credentials_or_network(repository: Path, tmp_path: Path) -> None:
    context = {"env": "prod", "bundling": "skip", "deployment_id": "pinned"}
    outputs = [tmp_path / "one", tmp_path / "two"]
    for outdir in outputs:
        outdir.mkdir()
        done = run_app(repository, outdir, context)
        assert done.returncode == 0, done.stderr
    one, two = map(contents, outputs)
    assert len([name for name in one if name.endswith(".template.json")]) == 11
    assert one == two


def test_without_a_pinned_id_every_deployment_is_new(repository: Path, tmp_path: Path) -> None:
    ids = []
    for attempt in ("one", "two"):
        outdir = tmp_path / attempt
        outdir.mkdir()
        assert run_app(repository, outdir, {"env": "dev", "bundling": "skip"}).returncode == 0
        template = json.loads((outdir / "loglineos-deployment-dev.template.json").read_text())
        ids.append(template["Resources"]["LedgerDeployment"]["Properties"]["DeploymentId"])
    assert ids[0] < ids[1]


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        ({}, "loglineos: no environment is called ''"),
        ({"env": "prod", "nat_gateways": "9"}, "loglineos: environment prod: nat_gateways is 9"),
        ({"env": "dev", "region": "eu-south-9"}, "pins no zones for eu-south-9"),
    ],
)
def test_what_cannot_be_deployed_stops_in_one_line(
    context: dict[str, str], sentence: str, repository: Path, tmp_path: Path
) -> None:
    done = run_app(repository, tmp_path, context)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_zip_that_cannot_be_built_stops_in_one_line(repository: Path, tmp_path: Path) -> None:
    done = run_app(repository, tmp_path, {"env": "dev", "python_version": "3.99"})
    assert done.returncode == 1
    assert "loglineos: pip could not install the dependency layer for aarch64, Python 3.99: ERROR" in done.stderr
    assert "Traceback" not in done.stderr


TAGGED = {"AWS::RDS::DBInstance", "AWS::Lambda::Function", "AWS::S3::Bucket", "AWS::SecretsManager::Secret",
          "AWS::EC2::VPC", "AWS::KMS::Key", "AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::IAM::Role"}  # fmt: skip


def test_everything_is_tagged_with_project_and_environment(each: Any) -> None:
    environment, found = each
    tagged = [
        {tag["Key"]: tag["Value"] for tag in one["Properties"]["Tags"]}
        for template in found.values()
        for one in template["Resources"].values()
        if one["Type"] in TAGGED
    ]
    wanted = {"project": "loglineos", "environment": environment.name}
    assert len(tagged) > 10
    assert all(wanted.items() <= tags.items() for tags in tagged)


OUTPUTS = {
    "database": {"DatabaseIdentifier", "DatabaseHost", "QueryHost", "MasterSecretArn"},
    "archive": {"ArchiveBucket", "ArchiveLocation", "AthenaWorkGroup", "AthenaTable"},
    "deployment": {"DeployFunctionName"},
    "functions": {"LoaderFunctionName", "MigrationFunctionName"},
    "monitoring": {"AlarmTopicArn"},
}


def test_outputs_that_tools_read(each: Any) -> None:
    _, found = each
    for part, names in OUTPUTS.items():
        outputs = found[part].get("Outputs", {})
        assert {name for name in outputs if not name.startswith("ExportsOutput")} == names


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_template_looks_anything_up(name: str, tmp_path: Path) -> None:
    app, _ = in_process(name, tmp_path)
    manifest = json.loads((synthesize(app) / "manifest.json").read_text())
    assert manifest.get("missing") is None


def test_what_was_not_built_cannot_be_uploaded(tmp_path: Path) -> None:
    app, _ = in_process("prod", tmp_path)
    listed = [json.loads(path.read_text()) for path in synthesize(app).glob("*.assets.json")]
    sources = {entry["source"]["path"] for one in listed for entry in one["files"].values()}
    assert "zips-were-not-built" in sources
    assert str(SOURCE) not in sources


@pytest.mark.parametrize(
    ("settings", "warned"),
    [({}, True), ({"trusted_row_keys": "a" * 64, "alarm_email": "ops@example.com"}, False)],
)
def test_prod_without_keys_or_an_address_is_a_warning(settings: dict[str, str], warned: bool, tmp_path: Path) -> None:
    app, _ = in_process("prod", tmp_path, **settings)
    said = "".join(path.read_text() for path in synthesize(app).glob("*.metadata.json"))
    assert ("trusted_row_keys=<hex>" in said, "alarm_email=<address>" in said) == (warned, warned)


def test_newest_seqs_are_of_what_the_loader_relies_on(tmp_path: Path) -> None:
    for folder, spans in {
        "kernels": [{"id": "k", "seq": 4}, {"id": "k", "seq": 5}],
        "manifest": [{"id": "m", "seq": 3}],
        "providers": [{"id": "o", "seq": 2}],
        "policies": [{"id": "p", "seq": 9}],
        "prompts": [{"id": "t", "seq": 1}],
    }.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.ndjson").write_text("".join(json.dumps(span) + "\n" for span in spans))
    assert newest_seqs(tmp_path) == {"k": 5, "m": 3, "o": 2, "p": 9}


def test_the_command_line_synthesizes_prod_warm_in_seconds(repository: Path, tmp_path: Path) -> None:
    command = repository / "node_modules" / ".bin" / "cdk"
    if not command.exists():
        pytest.skip("the CDK command line is not installed: npm ci")
    options = ["-c", "env=prod", "-c", "bundling=skip", "-o", str(tmp_path), "--quiet", "--no-notices"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    started = time.monotonic()
    done = subprocess.run(
        [str(command), "synth", *options, "*"],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 20, "about 5 s on a quiet machine: this only catches what went badly wrong"
