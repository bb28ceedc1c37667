"""docs/api.md, typed as it stands: by curl and openssl against a server of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ledger.settings import asset_directory
from tests.edge.kit import invitation
from tests.stage0_loader.stage import Stage

ROOT = asset_directory("docs").parent
PAGE = (ROOT / "docs" / "api.md").read_text()


def test_the_walk_through_works_as_it_stands(stage: Stage, tenant: str, url: str, tmp_path: Path) -> None:
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "note.py").write_text(script)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", shell],
        cwd=tmp_path,
        env={"PATH": path, "URL": url, "CODE": invitation(stage, tenant)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    shown = json.loads(lines[1].removesuffix("304"))
    assert (lines[0], shown["span"]["this"]) == ("The moon is full", "first")
    assert (lines[1][-3:], lines[2:]) == ("304", ["second", '"this":"second"', "401"])
    user = json.loads((tmp_path / "registration.json").read_text())["output"]["user_id"]
    assert [span.this for span in stage.spans(entity_type="note", owner_id=user)] == ["first", "second"]
    assert json.loads((tmp_path / "refused.json").read_text())["error"]["code"] == "unauthenticated"
    assert {file.stat().st_mode & 0o077 for file in tmp_path.glob("*.pem")} == {0}


def test_the_page_has_every_call_and_setting(stage: Stage) -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    for path, item in document["paths"].items():
        for method in item:
            assert f"`{method.upper()} {path}`" in PAGE
