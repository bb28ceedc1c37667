"""docs/kernels.md: each `aws lambda invoke` of it is typed as it stands, and answers what stands under it.

The AWS CLI is real, and so are loader and ledger; between them only AWS's Invoke is played. The deployed function
behind the emulator's Invoke is what tests/rehearsal/ is about.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from db_migration.rows import read_rows
from ledger.ids import MANIFEST_ID
from ledger.settings import asset_directory
from tests.stage0_loader.provider_server import provider_server
from tests.stage0_loader.stage import Stage, row

PAGE = (asset_directory("row").parent / "docs" / "kernels.md").read_text(encoding="utf-8")
# Each command, and the JSON that directly follows it, if there is any.
EXAMPLES = re.findall(r"```bash\n(aws lambda invoke .*?)```(?:\n\n```json\n(.*?)```)?", PAGE, re.DOTALL)
ANY = "…"


class Invoke(BaseHTTPRequestHandler):
    """AWS Lambda's Invoke: the payload to the loader's handler, its answer back."""

    server: Lambda

    def do_POST(self) -> None:
        """POST /2015-03-31/functions/<name>/invocations"""
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.path == "/2015-03-31/functions/loglineos-stage0-loader/invocations"
        answer = self.server.stage.send(event)
        body = json.dumps({"statusCode": answer.status, "headers": answer.headers, "body": answer.raw}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


class Lambda(HTTPServer):
    """Serves in the thread that asks it to, as kernels run in the main one alone."""

    timeout = 0.05  # seconds that it waits for a request

    def __init__(self, stage: Stage) -> None:
        super().__init__(("127.0.0.1", 0), Invoke)
        self.stage = stage

    def typed(self, command: str, folder: Path) -> dict[str, Any]:
        """The body that a command leaves in response.json."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        with subprocess.Popen(
            ["bash", "-euc", command], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            while process.poll() is None:
                self.handle_request()
            assert process.returncode == 0, process.stderr and process.stderr.read()
        body: dict[str, Any] = json.loads(json.loads((folder / "response.json").read_text())["body"])
        return body


@pytest.fixture(scope="module")
def answers(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each command left, in the page's order. The provider is a local server."""
    folder = tmp_path_factory.mktemp("kernels")
    with provider_server() as provider, Lambda(stage) as server:
        at = {"type": "ollama", "base_url": provider.url, "model": "llama3.2"}
        provider_id = next(span.id for span in _rows() if span.name == "ollama_local")
        stage.seed(row(provider_id, "provider", 1000, name="ollama_local", metadata=at))
        return [server.typed(command, folder) for command, _ in EXAMPLES]


def _rows() -> list[Any]:
    return [versions[-1] for versions in read_rows(asset_directory("row")).values()]


def unlike(expected: Any, actual: Any, place: str = "") -> list[str]:
    """The places where the two differ; `…` is like anything that is there."""
    if expected == ANY:
        return [] if actual is not None else [place]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        expected, actual = dict(enumerate(expected)), dict(enumerate(actual))
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = [f"{place}.{key}" for key in expected.keys() ^ actual.keys()]
        for key in expected.keys() & actual.keys():
            found += unlike(expected[key], actual[key], f"{place}.{key}")
        return found
    return [] if expected == actual else [f"{place}: {actual!r}"]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_each_example_answers_what_stands_under_it(answers: list[dict[str, Any]], number: int) -> None:
    answer, (_, expected) = answers[number], EXAMPLES[number]
    if expected:
        wanted = json.loads(expected)
        assert unlike(wanted, answer["error" if {"code", "message"} <= set(wanted) else "output"]) == []
    else:
        assert answer["ok"], answer


def test_each_kernel_of_the_manifest_has_its_section_and_its_example() -> None:
    rows = {str(span.id): span for span in _rows()}
    kernels: dict[str, str] = (rows[str(MANIFEST_ID)].metadata or {})["kernels"]
    listed = re.findall(r"^\| `(\w+_kernel)` \| `(\d\d)` \| (\d) \|", PAGE, re.MULTILINE)
    assert [(name, f"00000000-0000-4000-8000-0000000000{digits}") for name, digits, _ in listed] == list(
        kernels.items()
    )
    assert {name: int(seq) for name, _, seq in listed} == {name: rows[span_id].seq for name, span_id in kernels.items()}
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(kernels)
    for name, text in sections.items():
        assert f'"boot_function_id":"{kernels[name]}"' in text


def test_the_page_names_each_field_that_a_kernel_takes() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
    for name, text in sections.items():
        (path,) = (asset_directory("row") / "kernels").glob(f"{name}_*.py")
        model = path.read_text(encoding="utf-8").partition("class Input(BaseModel):")[2].partition("\n\n\n")[0]
        for field in re.findall(r"^    (\w+): ", model, re.MULTILINE):
            assert re.search(rf"`{field}\b|`metadata\.{field}|\| {field}", text) or field == "action", (name, field)
