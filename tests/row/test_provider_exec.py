"""provider_exec_kernel: what it asks of a provider, what it answers, and the span that it keeps."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from ledger.proof import verify
from tests.row.providers import Providers
from tests.stage0_loader.provider_server import KEY, ollama_body, openai_body, says
from tests.stage0_loader.stage import Stage

OPENAI_USAGE = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}
OLLAMA_USAGE = {"input_tokens": 26, "output_tokens": 298, "total_tokens": 324}


def test_openai_is_asked_as_its_schema_says_and_answers_text_usage_model_and_reason(providers: Providers) -> None:
    span = providers.add()
    answer = providers.ask(provider=span, prompt="Olá 🌙")
    provider = {"id": str(span), "name": providers.stage.one(id=span).name, "seq": 1}
    assert answer.output == {
        "text": "You said: Olá 🌙",
        "usage": OPENAI_USAGE,
        "model": "openai-model-0613",
        "finish_reason": "stop",
        "provider": provider,
        "span_id": str(providers.kept(answer).id),
    }
    (asked,) = providers.server.asked
    assert (asked.path, asked.headers["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert (asked.headers["content-type"], asked.headers["accept-encoding"]) == ("application/json", "identity")
    messages = [{"role": "user", "content": "Olá 🌙"}]
    assert asked.body == {"model": "openai-model", "messages": messages, "stream": False}


def test_ollama_is_asked_by_its_own_protocol_and_without_a_key(providers: Providers) -> None:
    turns = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "日本語"}]
    answer = providers.ask(kind="ollama", messages=turns, model="mistral", temperature=0, max_tokens=50)
    output = answer.output
    assert (output["text"], output["usage"], output["model"]) == ("You said: 日本語", OLLAMA_USAGE, "llama3.2")
    (asked,) = providers.server.asked
    assert (asked.path, "authorization" in asked.headers) == ("/api/chat", False)
    options = {"temperature": 0, "num_predict": 50}
    assert asked.body == {"model": "mistral", "messages": turns, "stream": False, "options": options}


def test_what_is_chosen_goes_to_openai_under_its_names(providers: Providers) -> None:
    assert providers.ask(model="gpt-4o", temperature=1.5, max_tokens=1).status == 200
    body = providers.server.asked[0].body
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("gpt-4o", 1.5, 1)


def test_a_provider_is_found_by_name_and_the_manuals_three_are_seeded(providers: Providers) -> None:
    span = providers.add()
    name = providers.stage.one(id=span).name
    assert providers.ask(name=name).output["provider"]["id"] == str(span)
    seeded = {
        found.name: found.metadata
        for found in providers.stage.spans(entity_type="provider")
        if found.id.int & 0xFFFF in (0x501, 0x502, 0x503)
    }
    openai = {"type": "openai", "base_url": "https://api.openai.com/v1", "secret": "loglineos-openai"}
    assert seeded == {
        "openai_gpt4": {**openai, "model": "gpt-4"},
        "openai_gpt35": {**openai, "model": "gpt-3.5-turbo"},
        "ollama_local": {"type": "ollama", "base_url": "http://localhost:11434", "model": "llama3.2"},
    }


def test_request_answer_and_figures_are_kept_as_a_private_span_of_the_caller(providers: Providers, tenant: str) -> None:
    span = providers.add()
    answer = providers.ask(provider=span, prompt="secret plan", max_tokens=9, tenant=tenant)
    kept = providers.kept(answer)
    assert (kept.owner_id, kept.tenant_id, kept.visibility, kept.status) == ("alice", tenant, "private", "complete")
    assert (kept.did, kept.related_to, kept.error) == ("asked", [span], None)
    assert kept.input == {"messages": [{"role": "user", "content": "secret plan"}], "max_tokens": 9}
    assert kept.output == {name: answer.output[name] for name in ("text", "usage", "model", "finish_reason")}
    figures = kept.metadata
    assert figures["provider"] == answer.output["provider"]
    assert (figures["model"], figures["usage"], figures["attempts"]) == ("openai-model-0613", OPENAI_USAGE, 1)
    assert 0 <= figures["latency_ms"] <= kept.duration_ms
    assert verify(kept, None)
    assert [each.status for each in providers.stage.spans(trace_id=answer.trace_id, entity_type="execution")] == [
        "complete"
    ]


def changed(**changes: Any) -> dict[str, Any]:
    """OpenAI's answer with other values."""
    return {**openai_body("x"), **changes}


def choice(**changes: Any) -> dict[str, Any]:
    """OpenAI's answer with another choice."""
    body = openai_body("x")
    return {**body, "choices": [{**body["choices"][0], **changes}]}


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    """A body that lacks fields."""
    return {name: value for name, value in body.items() if name not in names}


ODD: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "null content": ("openai", openai_body(None), {"text": ""}),
    "a refusal": ("openai", openai_body(None, refusal="I can't"), {"text": "", "refusal": "I can't"}),
    "cut at its length": ("openai", choice(finish_reason="length"), {"text": "x", "finish_reason": "length"}),
    "filtered": ("openai", choice(finish_reason="content_filter"), {"finish_reason": "content_filter"}),
    "no reason": ("openai", choice(finish_reason=None), {"finish_reason": None}),
    "no usage": ("openai", without(openai_body("x"), "usage"), {"usage": None}),
    "null usage": ("openai", changed(usage=None), {"usage": None}),
    "unknown fields": ("openai", changed(new={"deep": [1]}), {"text": "x"}),
    "no usage of Ollama": ("ollama", without(ollama_body("x"), "prompt_eval_count", "eval_count"), {"usage": None}),
    "a prompt that Ollama had read before": (
        "ollama",
        without(ollama_body("x"), "prompt_eval_count"),
        {"usage": {"input_tokens": 0, "output_tokens": 298, "total_tokens": 298}},
    ),
    "no reason of Ollama": ("ollama", without(ollama_body("x"), "done_reason"), {"finish_reason": None}),
    "NUL, which no span holds": ("openai", openai_body("a\0b"), {"text": "a\ufffdb"}),
    "emoji and newlines": ("openai", openai_body("👩‍👩‍👧\r\n\t\u202e"), {"text": "👩‍👩‍👧\r\n\t\u202e"}),
}


@pytest.mark.parametrize(("kind", "body", "wanted"), ODD.values(), ids=ODD)
def test_answers_that_the_schemas_allow_are_understood(
    providers: Providers, kind: str, body: dict[str, Any], wanted: dict[str, Any]
) -> None:
    answer = providers.ask(says(200, body), kind=kind)
    assert {name: answer.output[name] for name in wanted} == wanted
    assert providers.kept(answer).output.items() >= wanted.items()
    assert ("refusal" in answer.output) == ("refusal" in wanted)


def test_long_messages_go_through_whole_and_longer_ones_are_refused(providers: Providers) -> None:
    text = "é" * 190_000
    assert providers.ask(prompt=text).output["text"] == "You said: " + text
    assert providers.server.asked[0].body["messages"][0]["content"] == text
    answer = providers.ask(prompt="é" * 200_000)
    assert (answer.status, answer.error["message"]) == (422, "prompt: at most 400000 bytes as JSON")
    assert providers.server.asked == []


def test_a_very_long_answer_is_answered_whole_and_left_out_of_the_spans(providers: Providers) -> None:
    answer = providers.ask(says(200, openai_body("y" * 1_100_000)))
    assert len(answer.output["text"]) == 1_100_000
    kept = providers.kept(answer)
    assert (kept.status, kept.output) == ("complete", {"omitted": "larger than a span may be"})
    assert kept.metadata["usage"] == OPENAI_USAGE
    execution = providers.stage.one(trace_id=answer.trace_id, entity_type="execution")
    assert (execution.status, execution.output) == ("complete", None)


HI = [{"role": "user", "content": "Hi"}]
OPENAI = "00000000-0000-4000-8000-000000000501"
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": "Hi"}, "provider_id", "expected either provider_id or name"),
    ({"prompt": "Hi", "provider_id": OPENAI, "name": "x"}, "provider_id", "expected either provider_id or name"),
    ({"prompt": "Hi", "provider_id": "x"}, "provider_id", "expected a valid UUID"),
    ({"prompt": "Hi", "provider_id": OPENAI[:-1] + "9"}, "provider_id", "there is no such provider"),
    ({"prompt": "Hi", "provider_id": OPENAI[:-3] + "101"}, "provider_id", "there is no such provider"),
    ({"prompt": "Hi", "name": "nobody"}, "name", "there is no such provider"),
    ({"prompt": "Hi", "name": "welcome_message"}, "name", "there is no such provider"),
    ({"prompt": "Hi", "name": "' OR ''='"}, "name", "there is no such provider"),
    ({"provider_id": OPENAI}, "messages", "expected either messages or prompt"),
    ({"provider_id": OPENAI, "prompt": "Hi", "messages": HI}, "messages", "expected either messages or prompt"),
    ({"provider_id": OPENAI, "prompt": ""}, "prompt", "expected text with at least 1 character"),
    ({"provider_id": OPENAI, "prompt": 5}, "prompt", "expected a valid string"),
    ({"provider_id": OPENAI, "messages": []}, "messages", "expected a list with at least 1 item"),
    ({"provider_id": OPENAI, "messages": "Hi"}, "messages", "expected a valid list"),
    ({"provider_id": OPENAI, "messages": [{"role": "user"}]}, "messages.0.content", "is required"),
    ({"provider_id": OPENAI, "messages": [{**HI[0], "role": "boss"}]}, "messages.0.role", "expected 'system', 'user'"),
    ({"provider_id": OPENAI, "messages": [{**HI[0], "content": None}]}, "messages.0.content", "expected a valid str"),
    ({"provider_id": OPENAI, "messages": [{**HI[0], "name": "x"}]}, "messages.0.name", "unknown field"),
    ({"provider_id": OPENAI, "prompt": "Hi", "model": ""}, "model", "expected text with at least 1 character"),
    ({"provider_id": OPENAI, "prompt": "Hi", "temperature": 2.1}, "temperature", "expected less than or equal to 2"),
    ({"provider_id": OPENAI, "prompt": "Hi", "temperature": True}, "temperature", "expected a valid number"),
    ({"provider_id": OPENAI, "prompt": "Hi", "max_tokens": 0}, "max_tokens", "expected greater than or equal to 1"),
    ({"provider_id": OPENAI, "prompt": "Hi", "max_tokens": 1.5}, "max_tokens", "expected a valid integer"),
    ({"provider_id": OPENAI, "prompt": "Hi", "base_url": "https://x.example"}, "base_url", "unknown field; the known"),
    ({"provider_id": OPENAI, "prompt": "Hi", "secret": "loglineos-openai"}, "secret", "unknown field; the known"),
]


@pytest.mark.parametrize(("given", "field", "message"), REFUSED, ids=[f"{n}-{r[1]}" for n, r in enumerate(REFUSED)])
def test_what_cannot_be_asked_is_422_and_named(
    providers: Providers, given: dict[str, Any], field: str, message: str
) -> None:
    answer = providers.stage.boot(UUID("00000000-0000-4000-8000-000000000005"), given)
    assert answer.status == 422, answer.raw
    assert answer.error["field"] == field
    assert answer.error["message"].startswith(f"{field}: {message}")
    assert providers.stage.spans(trace_id=answer.trace_id, entity_type="provider_execution") == []


def test_a_caller_cannot_append_what_only_the_kernel_may(stage: Stage) -> None:
    for kind in ("provider_execution", "provider"):
        answer = stage.append({"entity_type": kind, "did": "asked", "this": "x"})
        assert (answer.status, answer.error["code"]) == (403, "not_permitted")
