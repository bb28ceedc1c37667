"""provider_exec_kernel and keys: sent to the provider that the system named, and never seen anywhere else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.conftest import LOADER_KEY, MEMORY_KEY, ROW_KEY
from tests.row.providers import SECRET, Providers, new_provider_id
from tests.stage0_loader.provider_server import KEY, Asked, Handler, openai_body, says, writes
from tests.stage0_loader.stage import Stage, row

TYPES: dict[str, str] = {"content-type": f"text/{KEY}"}
ECHOES: dict[str, Any] = {
    "an answer": says(200, openai_body(f"Your key is {KEY}.")),
    "a model's name": says(200, openai_body("x", KEY)),
    "a refusal": says(200, openai_body(None, refusal=KEY)),
    "401": says(401, {"error": {"message": f"Incorrect API key provided: {KEY[:12]}", "code": KEY}}),
    "403": says(403, {"error": KEY}),
    "400": says(400, {"error": {"message": f"bad header: Bearer {KEY}"}}),
    "400, where it would be cut": says(400, {"error": {"message": "x" * 480 + KEY}}),
    "429": says(429, {"error": {"message": KEY}}, {"retry-after": "500"}),
    "500": says(500, {"error": KEY.upper()}, {"retry-after": "500"}),
    "a content-type": says(200, b"{}", TYPES),
    "a long content-type": says(200, b"{}", {"content-type": "text/" + "x" * 35 + KEY}),
    "a redirect": says(302, {}, {"location": f"https://{KEY}.example/{KEY}"}),
    "a port": says(302, {}, {"location": f"https://x.example:{KEY}/"}),
    "a redirect without a host": says(302, {}, {"location": f"{KEY}:{KEY}"}),
    "a long redirect": says(302, {}, {"location": f"https://{'x' * 60}.{'y' * 25}.{KEY}/"}),
    "what is not HTTP": writes(f"{KEY}\r\n\r\n".encode()),
    "a chat completion that is none": says(200, {KEY: KEY, "choices": KEY}),
    "a header of its answer": says(200, openai_body("x"), {"x-debug": KEY}),
}


@pytest.mark.parametrize("step", ECHOES.values(), ids=ECHOES)
def test_a_key_that_the_provider_repeats_is_nowhere(providers: Providers, step: Any) -> None:
    answer = providers.ask(*[step] * 4)
    assert {asked.headers["authorization"] for asked in providers.server.asked} == {f"Bearer {KEY}"}
    traces = [answer.raw, answer.log, "".join(map(str, providers.stage.spans(trace_id=answer.trace_id)))]
    for seen in (KEY, KEY.lower(), KEY.upper(), KEY[:12], KEY[12:], base64.b64encode(KEY.encode()).decode()[:20]):
        assert all(seen not in trace for trace in traces), seen
        assert providers.stage.places_of(seen) == []


def test_401_says_which_secret_to_check(providers: Providers) -> None:
    answer = providers.ask(says(401, {"error": {"message": "wrong key"}}))
    assert (answer.status, answer.error["code"], answer.error["http_status"]) == (502, "auth", 401)
    assert answer.error["message"].endswith(f"answered 401: check the secret {SECRET}")
    assert len(providers.server.asked) == 1


def test_a_secret_that_is_not_set_says_which_command_sets_it_and_all_else_works(providers: Providers) -> None:
    answer = providers.ask(provider=providers.add(secret="loglineos-nobody"))
    assert (answer.status, answer.error["code"], providers.server.asked) == (502, "auth", [])
    command = "aws secretsmanager create-secret --name loglineos-nobody --secret-string"
    assert command in answer.error["message"]
    assert providers.kept(answer).error["code"] == "auth"
    assert providers.ask().status == 200


def test_a_secret_that_is_made_later_is_found_without_a_new_deployment(
    providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    span = providers.add(secret="loglineos-later")
    loader = providers.stage.new_loader(LOGLINEOS_LATER_SECRET="loglineos-later")
    with mock_aws():
        assert "aws secretsmanager create-secret" in providers.ask(provider=span, loader=loader).error["message"]
        boto3.client("secretsmanager").create_secret(Name="loglineos-later", SecretString=KEY)
        assert providers.ask(provider=span, loader=loader).output["text"] == "You said: Hello"
        boto3.client("secretsmanager").delete_secret(SecretId="loglineos-later")
        # A warm loader keeps a secret for up to five minutes.
        assert providers.ask(provider=span, loader=loader).status == 200


def test_a_secret_that_may_not_be_read_is_told_to_the_log(
    providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    loader = providers.stage.new_loader(LOGLINEOS_GONE_SECRET="loglineos-gone")
    with mock_aws():
        boto3.client("secretsmanager").create_secret(Name="loglineos-gone", SecretString=KEY)
        boto3.client("secretsmanager").delete_secret(SecretId="loglineos-gone")
        answer = providers.ask(provider=providers.add(secret="loglineos-gone"), loader=loader)
    assert (answer.error["code"], providers.server.asked) == ("auth", [])
    assert answer.error["message"] == "the secret loglineos-gone cannot be read; the log says why"
    assert any("InvalidRequestException" in str(line.get("error")) for line in answer.errors)


@pytest.mark.parametrize("content", ["two words", "line\nbreak", "ключ", '{"key": "value"}', '"quoted" ', "\x1b[0m"])
def test_a_secret_that_is_no_key_is_not_sent_and_not_shown(providers: Providers, tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    file.chmod(0o600)
    answer = providers.ask(loader=providers.stage.new_loader(LOGLINEOS_TESTING_FILE=str(file)))
    if " " not in content.strip() and content.strip().isprintable() and content.isascii():
        assert answer.error["http_status"] == 401  # it may be one: the provider has to say
    else:
        assert (answer.error["code"], providers.server.asked) == ("auth", [])
        assert "is no API key" in answer.error["message"]
    assert content.strip() not in answer.raw + answer.log


def test_a_file_that_others_can_read_is_named_in_the_log_alone(providers: Providers, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o644)
    answer = providers.ask(loader=providers.stage.new_loader(LOGLINEOS_TESTING_FILE=str(file)))
    assert (answer.error["code"], providers.server.asked) == ("auth", [])
    assert str(tmp_path) not in answer.raw
    assert any("chmod 600" in str(line.get("error")) for line in answer.errors)


@pytest.mark.parametrize("secret", ["loglineos-memory-key", "SIGNING_KEY", "loglineos-", "../x", "loglineos-a\nb"])
def test_no_other_secret_of_the_loader_is_sent_to_a_provider(providers: Providers, secret: str) -> None:
    answer = providers.ask(provider=providers.add(secret=secret))
    assert answer.status == 502
    assert providers.server.asked == []
    for key in (MEMORY_KEY.hex(), bytes(LOADER_KEY).hex()):
        assert key not in answer.raw + answer.log


def test_a_provider_without_a_secret_is_asked_without_a_key(providers: Providers) -> None:
    span = providers.add()
    providers.add(span=span, seq=2, secret=None)
    answer = providers.ask(says(200, openai_body("free")), provider=span)
    assert answer.output["text"] == "free"
    assert answer.output["provider"]["seq"] == 2
    assert "authorization" not in providers.server.asked[0].headers
    assert "names no secret" in providers.ask(says(401), provider=span).error["message"]


@pytest.mark.parametrize("base_url", ["http://api.openai.example/v1", "http://localhost.example/v1"])
def test_a_key_does_not_leave_this_machine_in_clear(providers: Providers, base_url: str) -> None:
    answer = providers.ask(provider=providers.add(base_url=base_url))
    assert (answer.status, answer.error["code"]) == (500, "kernel_failed")
    assert answer.error["message"] == "ValueError: headers go to https, or to this machine"
    assert KEY not in answer.raw + answer.log


def test_proxies_of_the_environment_are_not_used(providers: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert providers.ask().status == 200


def test_a_provider_that_is_not_active_is_refused(providers: Providers) -> None:
    span = new_provider_id()
    metadata = {"type": "ollama", "base_url": providers.server.url, "model": "m"}
    providers.stage.seed(row(span, "provider", 1, name="old", status="retired", metadata=metadata))
    answer = providers.ask(provider=span)
    assert (answer.status, answer.error["reason"]) == (409, "it is not an active provider")
    assert providers.server.asked == []


def test_a_provider_that_was_taken_back_is_not_found(providers: Providers) -> None:
    span = providers.add()
    providers.stage.seed(row(span, "provider", 2, name="gone", is_deleted=True))
    answer = providers.ask(provider=span)
    assert (answer.status, answer.error["message"]) == (422, "provider_id: there is no such provider")


def test_a_provider_that_was_tampered_with_gets_no_key(providers: Providers) -> None:
    span = providers.add()
    url = f'"{providers.server.url}/stolen"'
    providers.stage.tamper("metadata = jsonb_set(metadata, '{base_url}', %s::jsonb)", span, [url])
    for key in ({"provider_id": str(span)}, {"name": providers.stage.one(id=span).name}):
        answer = providers.ask(**key)
        assert (answer.status, answer.error["reason"]) == (409, "its columns do not match its hash")
        assert providers.server.asked == []


@pytest.mark.parametrize("signed", [True, False])
def test_a_provider_that_somebody_else_put_into_the_ledger_gets_no_key(providers: Providers, signed: bool) -> None:
    span = new_provider_id()
    metadata = {"type": "openai", "base_url": providers.server.url, "model": "m", "secret": SECRET}
    theirs = {"owner_id": "mallory", "tenant_id": "acme", "visibility": "tenant"} if signed else {}
    made = row(span, "provider", 1, name="mine", metadata=metadata, **theirs)
    providers.stage.insert_as_admin(made, ROW_KEY if signed else None)
    answer = providers.ask(provider=span)
    assert answer.status == 409
    assert answer.error["message"] == "Span verification failed"
    assert providers.server.asked == []
    if signed:
        assert providers.ask(name="mine").status == 422


def test_a_tenant_cannot_add_a_provider(stage: Stage, tenant: str) -> None:
    kernel = stage.publish(
        "def main(ctx):\n    ctx.ledger.append(entity_type='provider', who='w', did='d', this='t', name='mine',\n"
        "        status='active', metadata={'type': 'ollama', 'base_url': 'http://localhost:1', 'model': 'm'})"
    )
    assert stage.boot(kernel, tenant=tenant).status == 403
    assert stage.spans(tenant_id=tenant, entity_type="provider") == []


@pytest.mark.parametrize(
    "metadata",
    [{"type": "smtp"}, {"model": ""}, {"base_url": 5}, {"extra": 1}],
    ids=lambda metadata: next(iter(metadata)),
)
def test_a_provider_row_that_is_wrong_is_named(providers: Providers, metadata: dict[str, Any]) -> None:
    answer = providers.ask(provider=providers.add(**metadata))
    assert (answer.status, answer.error["code"]) == (502, "unavailable")
    assert f"is not valid: {next(iter(metadata))}" in answer.error["message"]


def test_tenants_do_not_see_each_others_requests(providers: Providers, tenant: str) -> None:
    answer = providers.ask(prompt="my own plan", tenant=tenant)
    kept = providers.kept(answer)
    reader = providers.stage.publish(
        "from uuid import UUID\ndef main(ctx):\n    return ctx.ledger.latest(UUID(ctx.input['id'])) is not None"
    )
    given = {"id": str(kept.id)}
    seen = [
        providers.stage.boot(reader, given, user=user, tenant=where).output
        for user, where in (("alice", tenant), ("bob", tenant), ("alice", tenant + "-b"))
    ]
    assert seen == [True, False, False]


def test_a_key_is_read_again_when_its_file_changes(providers: Providers, tmp_path: Path) -> None:
    file = tmp_path / "key"
    sent: list[str] = []

    def note(handler: Handler, asked: Asked) -> None:
        sent.append(asked.headers["authorization"])
        handler.answer(401, b"{}")

    loader = providers.stage.new_loader(LOGLINEOS_TESTING_FILE=str(file))
    for key in ("first", "second"):
        file.write_text(key)
        file.chmod(0o600)
        providers.ask(note, loader=loader)
    assert sent == ["Bearer first", "Bearer second"]
