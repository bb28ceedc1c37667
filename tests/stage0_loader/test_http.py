"""`ctx.http`: a base URL of an active provider of the system, its own path below it, one answer; nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ledger.errors import VerificationFailed
from ledger.keys import KeyRing
from ledger.proof import seal
from ledger.settings import asset_directory
from ledger.span import Span
from stage0_loader.deadline import Deadline, TimedOut, call_until
from stage0_loader.http import Http, HttpFailed
from stage0_loader.settings import Settings
from tests.conftest import LOADER_KEY, ROW_KEY
from tests.stage0_loader.provider_server import Asked, Handler, ProviderServer, provider_server, says
from tests.stage0_loader.stage import ROW_PUBLIC, Stage, row

PROVIDER = UUID("00000000-0000-4000-8000-000000096001")


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """A local provider."""
    with provider_server() as running:
        yield running


def provider(base_url: Any, **values: Any) -> Span:
    """A provider span, signed by the row key."""
    return seal(row(PROVIDER, "provider", 1, **{"name": "p", "metadata": {"base_url": base_url}, **values}), ROW_KEY)


def gate(seconds: float = 10, minimum_seq: int = 0) -> Http:
    """What a kernel with so many seconds left has."""
    environment = {"DATABASE_URL": "postgresql://lambda_exec@localhost/x", "TRUSTED_ROW_KEYS": ROW_PUBLIC}
    environment["MINIMUM_SEQS"] = f'{{"{PROVIDER}": {minimum_seq}}}'
    settings = Settings.from_environment(environment)
    keys = KeyRing.build({"row": settings.trusted_row_keys})
    return Http(settings, keys, Deadline(time.monotonic() + seconds, round(seconds * 1000)))


def post(server: ProviderServer, base_url: Any, path: str = "/api/chat", **options: Any) -> Any:
    """Ask; what came to the server is in `server.asked`."""
    server.asked.clear()
    body = {"model": "m", "messages": [{"content": "Hello"}]}
    return gate().post(provider(base_url), path, body, timeout_s=5, **options)


@pytest.mark.parametrize(
    ("base", "path", "asked"),
    [
        ("", "/api/chat", "/api/chat"),
        ("/", "/api/chat", "/api/chat"),
        ("/v1", "/chat/completions", "/v1/chat/completions"),
        ("/v1/", "/x", "/v1/x"),
        ("/a.b/v1.2", "/models/gpt-3.5_turbo~1", "/a.b/v1.2/models/gpt-3.5_turbo~1"),
    ],
)
def test_a_path_goes_below_the_base_url(server: ProviderServer, base: str, path: str, asked: str) -> None:
    server.script[:] = [says(201, {"a": 1}, {"X-Request-Id": "7"})]
    answer = post(server, server.url + base, path)
    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (201, b'{"a": 1}', "7")
    assert [one.path for one in server.asked] == [asked]
    assert server.asked[0].headers["host"] == server.url.removeprefix("http://")


PATHS = [
    "", "/", "api", "//evil.example", "//evil.example/x", "/\\evil.example", "@evil.example/x", "/@evil.example",
    ":80/x", ".evil.example/x", "/..", "/../x", "/a/../../x", "/a/./b", "/.", "/%2e%2e/x", "/a%2f..", "/a?b=c", "/a#b",
    "http://evil.example/x", "https:/evil.example", "/a b", "/a\r\nhost: evil.example", "/a\n", "/é", "/a//b", "/a/",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_elsewhere(server: ProviderServer, path: str) -> None:
    with pytest.raises(ValueError, match="plain segments"):
        post(server, server.url, path)
    assert server.asked == []


BASE_URLS = [
    None, 5, "", "localhost", "//localhost", "ftp://localhost", "file:///etc/passwd", "http://", "http:///x",
    "http://user@localhost", "http://user:pass@localhost", "http://localhost@evil.example", "http://localhost?x",
    "http://localhost#x", "http://localhost\\@evil.example", "http://local host", "http://localhost\r\n", "http://é.example",
    "http://localhost/..", "http://localhost//x", "http://localhost:port", "http://localhost:123456", "http://.evil",
    "http://localhost/%2e", "HTTP ://localhost", "javascript:alert(1)",
]  # fmt: skip


@pytest.mark.parametrize("base_url", BASE_URLS)
def test_a_base_url_that_can_be_read_in_two_ways_is_refused(server: ProviderServer, base_url: Any) -> None:
    with pytest.raises(VerificationFailed, match="Span verification failed") as refusal:
        post(server, base_url)
    assert refusal.value.reason == "its base_url is not like https://host/path"


def test_a_span_that_the_gate_cannot_verify_leads_nowhere(server: ProviderServer) -> None:
    signed = provider(server.url)
    spans = {
        "made up": row(PROVIDER, "provider", 1, name="p", metadata={"base_url": server.url}),
        "signed by another": seal(signed.with_values(curr_hash=None, signature=None, public_key=None), LOADER_KEY),
        "changed": provider("https://api.openai.com/v1").with_values(metadata={"base_url": server.url}),
        "of a tenant": provider(server.url, owner_id="alice", tenant_id="acme"),
        "retired": provider(server.url, status="retired"),
        "deleted": provider(server.url, is_deleted=True),
        "no provider": seal(row(PROVIDER, "prompt", 1, name="p", metadata={"base_url": server.url}), ROW_KEY),
    }
    server.asked.clear()
    for span in spans.values():
        with pytest.raises(VerificationFailed):
            gate().post(span, "/x", {}, timeout_s=5)
    with pytest.raises(VerificationFailed, match="failed"):
        gate(minimum_seq=2).post(signed, "/x", {}, timeout_s=5)
    assert server.asked == []
    assert gate(minimum_seq=1).post(signed, "/api/chat", {"messages": [{"content": "x"}]}, timeout_s=5).status == 200


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\n", "\0", "é", "a\x7f"])
def test_a_header_that_could_end_itself_is_refused_and_not_repeated(server: ProviderServer, value: str) -> None:
    with pytest.raises(ValueError, match="header authorization: expected printable ASCII") as refusal:
        post(server, server.url, headers={"authorization": value})
    assert value not in str(refusal.value)
    assert server.asked == []


def test_headers_go_out_and_cannot_ask_for_what_is_not_unpacked(server: ProviderServer) -> None:
    post(server, server.url, headers={"Authorization": "Bearer k", "X-Beta": "1"})
    sent = server.asked[0].headers
    assert (sent["authorization"], sent["x-beta"], sent["accept-encoding"]) == ("Bearer k", "1", "identity")


def silent(handler: Handler, _: Asked) -> None:
    """Accepts and says nothing."""
    handler.close_connection = True
    handler.wait(60)


@pytest.mark.parametrize(("left_s", "timeout_s"), [(30, 0.2), (0.2, 30)])
def test_an_exchange_ends_at_its_own_time_or_the_kernels(
    server: ProviderServer, left_s: float, timeout_s: float
) -> None:
    server.script[:] = [silent]
    with pytest.raises(HttpFailed) as failure:
        gate(left_s).post(provider(server.url), "/x", {}, timeout_s=timeout_s)
    assert (failure.value.code, failure.value.retry) == ("timeout", False)


def test_a_kernel_has_the_rest_of_its_time_after_an_exchange_that_timed_out(server: ProviderServer) -> None:
    """The outer timer goes on, not later than it would have been."""
    server.script[:] = [silent]
    passed: list[str] = []

    def work() -> None:
        with pytest.raises(HttpFailed):
            gate().post(provider(server.url), "/x", {}, timeout_s=0.1)
        passed.append("the exchange")
        time.sleep(30)

    began = time.monotonic()
    with pytest.raises(TimedOut):
        call_until(Deadline(began + 0.6, 600), work)
    assert passed == ["the exchange"]
    assert time.monotonic() - began >= 0.6


def test_a_deadline_within_a_deadline_leaves_the_outer_one_as_it_was() -> None:
    def work() -> str:
        for _ in range(3):
            assert call_until(Deadline(time.monotonic() + 5, 5000), lambda: "inner") == "inner"
        return "outer"

    assert call_until(Deadline(time.monotonic() + 5, 5000), work) == "outer"
    with pytest.raises(TimedOut):
        call_until(Deadline(time.monotonic() + 0.1, 100), lambda: work() and threading.Event().wait(30))


def test_a_kernel_gets_to_the_network_by_ctx_http_only(stage: Stage) -> None:
    """Nothing in loader or kernels imports another way out; the gate itself imports httpx when it is used."""
    network = {"httpx", "httpcore", "requests", "socket", "ssl", "asyncio", "urllib.request", "http.client"}
    root = Path(asset_directory("row")).parent
    found = set()
    for path in [*(root / "row").rglob("*.py"), *(root / "lambdas" / "stage0_loader").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            found |= {path.name for name in names if name in network}
    assert found == {"http.py"}


def test_httpx_is_imported_when_it_is_needed_and_not_before() -> None:
    script = "import sys, stage0_loader.handler as _; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_provider_of_the_seed_is_within_reach_of_a_kernel(stage: Stage, server: ProviderServer) -> None:
    stage.seed(row(PROVIDER, "provider", 1, name="p", metadata={"base_url": server.url}))
    kernel = stage.publish(
        "from uuid import UUID\ndef main(ctx):\n    span = ctx.system_span(UUID(ctx.input['id']), 'provider')\n"
        "    body = {'messages': [{'content': 'Hi'}]}\n"
        "    return ctx.http.post(span, '/api/chat', body, timeout_s=5).body.decode()"
    )
    assert "You said: Hi" in stage.boot(kernel, {"id": str(PROVIDER)}).output


@pytest.mark.parametrize(
    ("code", "status"),
    [("auth", 502), ("rate_limited", 429), ("timeout", 504), ("bad_request", 422), ("unavailable", 502)],
)
def test_a_kernel_fails_with_a_code_of_its_choice(stage: Stage, code: str, status: int) -> None:
    kernel = stage.publish(f"def main(ctx):\n    raise ctx.failed({code!r}, 'In its own words', retry_after=3)")
    answer = stage.boot(kernel)
    assert answer.status == status
    assert answer.error == {"code": code, "message": "In its own words", "retry_after": 3}
    execution = stage.one(trace_id=answer.trace_id, entity_type="execution")
    assert (execution.status, execution.error) == ("error", answer.error)


def test_a_code_that_the_answers_do_not_know_is_told_to_the_log_alone(stage: Stage) -> None:
    answer = stage.boot(stage.publish("def main(ctx):\n    raise ctx.failed('odd', 'x')"))
    assert (answer.status, answer.error["code"]) == (500, "internal")
