"""provider_exec_kernel against providers that fail: five codes, attempts that are bounded, and a span of each."""

from __future__ import annotations

import gzip
import json
import socket
import time
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest

from tests.row.providers import Providers
from tests.stage0_loader.provider_server import Asked, Handler, ollama_body, openai_body, provider_server, says, writes
from tests.stage0_loader.stage import Answer

GOOD = json.dumps(openai_body("x")).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
STATUS = {"auth": 502, "rate_limited": 429, "timeout": 504, "bad_request": 422, "unavailable": 502}


def failed(providers: Providers, answer: Answer, code: str, attempts: int) -> dict[str, Any]:
    """The error, which the answer, the kernel's span and the execution must tell alike."""
    assert (answer.status, answer.error["code"]) == (STATUS[code], code), answer.raw
    assert (answer.error["attempts"], len(providers.server.asked)) == (attempts, attempts)
    kept = providers.kept(answer)
    assert (kept.status, kept.output, kept.visibility) == ("error", None, "private")
    assert answer.error == {**kept.error, "provider": kept.name, "span_id": str(kept.id)}
    execution = providers.stage.one(trace_id=answer.trace_id, entity_type="execution")
    assert (execution.status, execution.error) == ("error", answer.error)
    return answer.error


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529, 408, 429])
def test_what_passes_is_tried_again(providers: Providers, status: int) -> None:
    answer = providers.ask(says(status, {"error": {"message": "busy"}}))
    assert answer.output["text"] == "You said: Hello"
    assert providers.kept(answer).metadata["attempts"] == len(providers.server.asked) == 2
    first, second = providers.server.asked
    assert first.raw == second.raw


@pytest.mark.parametrize(("status", "code"), [(500, "unavailable"), (429, "rate_limited")])
def test_attempts_are_bounded(providers: Providers, status: int, code: str) -> None:
    error = failed(providers, providers.ask(*[says(status, {"error": "busy"})] * 9), code, 4)
    assert error["message"].endswith(f"answered {status}: busy")
    assert error["http_status"] == status


def test_waits_grow_between_attempts(providers: Providers) -> None:
    at: list[float] = []

    def busy(handler: Handler, _: Asked) -> None:
        at.append(time.monotonic())
        handler.answer(500, b"{}")

    failed(providers, providers.ask(*[busy] * 4), "unavailable", 4)
    waits = [after - before for before, after in pairwise(at)]
    assert all(wait >= least for wait, least in zip(waits, [0.125, 0.25, 0.5], strict=True))


@pytest.mark.parametrize("how", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(providers: Providers, how: str, status: int) -> None:
    # A date has whole seconds: two from now is at least one.
    wait = "1" if how == "seconds" else formatdate(time.time() + 2, usegmt=True)
    answer = providers.ask(says(status, {}, {"retry-after": wait}))
    assert answer.output["text"] == "You said: Hello"
    assert answer.seconds >= 1


@pytest.mark.parametrize("wait", ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-5", "", "1e3", "9" * 30])
def test_a_retry_after_that_is_past_or_says_nothing_does_not_matter(providers: Providers, wait: str) -> None:
    assert providers.ask(says(429, {}, {"retry-after": wait})).status == 200


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_that_is_too_long_is_the_callers_to_wait_for(providers: Providers, status: int) -> None:
    answer = providers.ask(says(status, {}, {"retry-after": "120"}))
    error = failed(providers, answer, "rate_limited" if status == 429 else "unavailable", 1)
    assert error["retry_after"] == 120
    answer = providers.ask(says(status, {}, {"retry-after": formatdate(time.time() + 3600, usegmt=True)}))
    assert 3590 <= answer.error["retry_after"] <= 3600


def test_an_unpaid_bill_is_not_asked_again(providers: Providers) -> None:
    error = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
    failed(providers, providers.ask(says(429, {"error": error})), "rate_limited", 1)


BAD: dict[str, tuple[int, Any, str]] = {
    "OpenAI's": (400, {"error": {"message": "no such parameter", "code": "x"}}, "answered 400: no such parameter"),
    "Ollama's": (404, {"error": "model 'x' not found"}, "answered 404: model 'x' not found"),
    "without a sentence": (413, b"<html>too large</html>", "answered 413"),
    "of another form": (422, {"error": ["a", 1]}, "answered 422: ['a', 1]"),
    "no object": (400, [1], "answered 400"),
    "null": (400, b"null", "answered 400"),
}


@pytest.mark.parametrize(("status", "body", "message"), BAD.values(), ids=BAD)
def test_a_request_that_the_provider_does_not_take_is_told_in_its_words(
    providers: Providers, status: int, body: Any, message: str
) -> None:
    error = failed(providers, providers.ask(says(status, body)), "bad_request", 1)
    assert error["message"].endswith(message)


def framed(body: bytes, *headers: bytes) -> bytes:
    """A 200 with these headers."""
    return HEAD + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


BROKEN: dict[str, tuple[Any, int, str]] = {
    "cut short": (writes(framed(GOOD[:50], b"content-length: %d" % len(GOOD))), 4, "broke off"),
    "a chunk cut short": (writes(framed(b"ff\r\n{", b"transfer-encoding: chunked")), 4, "broke off"),
    "closed without an answer": (writes(), 4, "broke off"),
    "not HTTP": (writes(b"SSH-2.0-OpenSSH\r\n"), 4, "broke off"),
    "headers without end": (writes(HEAD + b"x: " + b"y" * 200_000), 4, "broke off"),
    "not JSON": (says(200, b"{"), 1, "JSON that cannot be read"),
    "too deep": (says(200, b"[" * 100_000), 1, "JSON that cannot be read"),
    "half a character": (says(200, json.dumps(openai_body("\ud800")).encode()), 1, "JSON that cannot be read"),
    "not UTF-8": (says(200, b'{"a": "\xff"}'), 1, "JSON that cannot be read"),
    "empty": (says(200, b""), 1, "JSON that cannot be read"),
    "a page": (says(200, b"<html>", {"content-type": "text/html"}), 1, "text/html where JSON was expected"),
    "a stream": (says(200, b"{}", {"content-type": "text/event-stream"}), 1, "text/event-stream where JSON"),
    "no type": (writes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), 1, "no content-type where JSON"),
    "no choices": (says(200, {**openai_body("x"), "choices": []}), 1, "choices: List should have at least 1 item"),
    "another protocol": (says(200, ollama_body("x")), 1, "choices: Field required"),
    "text that is a number": (says(200, openai_body(5)), 1, "choices.0.message.content: Input should be a valid"),  # type: ignore[arg-type]
    "a negative count": (
        says(200, {**openai_body("x"), "usage": {"prompt_tokens": -1, "completion_tokens": 1, "total_tokens": 0}}),
        1,
        "usage.prompt_tokens: Input should be greater than or equal to 0",
    ),
    "an array": (says(200, []), 1, "what is no chat completion"),
    "no content": (writes(b"HTTP/1.1 204 No Content\r\n\r\n"), 1, "no content-type where JSON"),
    "huge": (says(200, b" " * 3_000_000), 1, "larger than 2097152 bytes"),
    "gzipped": (says(200, gzip.compress(GOOD), {"content-encoding": "gzip"}), 1, "compressed"),
    "a bomb": (says(200, gzip.compress(b" " * 50_000_000), {"content-encoding": "gzip"}), 1, "compressed"),
    "two codings": (says(200, b"x", {"content-encoding": "gzip, identity"}), 1, "compressed"),
}


@pytest.mark.parametrize(("step", "attempts", "message"), BROKEN.values(), ids=BROKEN)
def test_an_answer_that_is_none_is_unavailable(providers: Providers, step: Any, attempts: int, message: str) -> None:
    error = failed(providers, providers.ask(*[step] * 4), "unavailable", attempts)
    assert message in error["message"]


def test_an_answer_without_end_is_cut_at_the_limit(providers: Providers) -> None:
    def endless(handler: Handler, _: Asked) -> None:
        handler.close_connection = True
        handler.wfile.write(HEAD + b"\r\n")
        while not handler.wait(0):
            handler.wfile.write(b" " * 65536)

    assert "larger than" in failed(providers, providers.ask(endless), "unavailable", 1)["message"]


def test_an_answer_of_ollama_that_is_not_done_is_none(providers: Providers) -> None:
    answer = providers.ask(says(200, {**ollama_body("x"), "done": False}), kind="ollama")
    assert "done: Input should be True" in failed(providers, answer, "unavailable", 1)["message"]


def drip(handler: Handler, _: Asked) -> None:
    """A byte of the body now and then: no single read takes long."""
    handler.close_connection = True
    handler.wfile.write(framed(b"", b"content-length: 100000"))
    while not handler.wait(0.02):
        handler.wfile.write(b" ")


def drip_headers(handler: Handler, _: Asked) -> None:
    """The same before the body begins."""
    handler.close_connection = True
    handler.wfile.write(HEAD)
    while not handler.wait(0.02):
        handler.wfile.write(b"a: b\r\n")


def informational(handler: Handler, _: Asked) -> None:
    """Interim answers without end (RFC 9110, 15.2)."""
    handler.close_connection = True
    while not handler.wait(0.005):
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def silent(handler: Handler, _: Asked) -> None:
    """Accepts and says nothing."""
    handler.close_connection = True
    handler.wait(60)


@pytest.mark.parametrize("step", [silent, drip, drip_headers, informational], ids=lambda step: step.__name__)
def test_a_slow_provider_is_a_timeout_of_the_kernels_own(providers: Providers, step: Any) -> None:
    # 2 s are the loader's reserve, 1 s the kernel's: the provider has 0.6 s.
    answer = providers.ask(step, remaining_ms=3_600)
    error = failed(providers, answer, "timeout", 1)
    assert "no whole answer within" in error["message"]
    assert "Kernel timed out" not in answer.raw
    assert providers.kept(answer).metadata["latency_ms"] >= 500
    assert providers.ask().status == 200


def test_there_is_no_attempt_without_time_for_it(providers: Providers) -> None:
    answer = providers.ask(remaining_ms=2_900)
    assert (answer.status, answer.error["code"], providers.server.asked) == (504, "timeout", [])
    assert "no time is left" in answer.error["message"]
    assert providers.kept(answer).error["code"] == "timeout"


def test_attempts_stop_when_their_time_is_over(providers: Providers) -> None:
    # 2 s are the loader's reserve, 1 s the kernel's: what is left is too little for a second attempt.
    failed(providers, providers.ask(*[says(500)] * 9, remaining_ms=3_550), "unavailable", 1)


def test_nobody_listening_is_unavailable_after_all_attempts(providers: Providers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    answer = providers.ask(provider=providers.add(base_url=f"http://127.0.0.1:{port}/v1"))
    assert (answer.status, answer.error["code"], answer.error["attempts"]) == (502, "unavailable", 4)
    assert "cannot be reached" in answer.error["message"]
    assert providers.kept(answer).metadata["attempts"] == 4


def test_a_name_that_does_not_resolve_is_unavailable(providers: Providers) -> None:
    span = providers.add(base_url="https://no-such-host.invalid/v1")
    answer = providers.ask(provider=span)
    assert (answer.status, answer.error["code"]) == (502, "unavailable")


def test_a_certificate_that_nobody_vouches_for_is_unavailable(providers: Providers) -> None:
    answer = providers.ask(provider=providers.add(base_url=providers.server.url.replace("http", "https")))
    assert (answer.status, answer.error["code"], providers.server.asked) == (502, "unavailable", [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["elsewhere", "the same host"])
def test_redirects_are_refused_and_the_host_is_named(providers: Providers, status: int, where: str) -> None:
    with provider_server() as other:
        url = f"http://localhost:{other.server_address[1]}/v1" if where == "elsewhere" else "/v2/chat/completions"
        error = failed(providers, providers.ask(says(status, {}, {"location": url})), "unavailable", 1)
        assert other.asked == []
    host = "localhost" if where == "elsewhere" else "127.0.0.1"
    assert f"a redirect to {host} was refused" in error["message"]


@pytest.mark.parametrize(
    "location",
    ["", "//", "http://[", "http://a b/", "https://é.example/", "javascript:alert(1)", "http://h:99999", "http:x"],
)
def test_odd_locations_are_refused_as_well(providers: Providers, location: str) -> None:
    step = writes(b"HTTP/1.1 302 Found\r\nlocation: " + location.encode() + b"\r\ncontent-length: 0\r\n\r\n")
    assert "redirect" in failed(providers, providers.ask(step), "unavailable", 1)["message"]
