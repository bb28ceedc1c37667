"""`login`, `logout`, and the commands over HTTPS, as processes; and the Python client that they use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loglineos.client import Client, Conflict, Device, Rejected, TooMany, Unauthenticated, Unavailable, checked_url
from loglineos.client import enroll as enroll_device
from tests.cli.edge_double import CODE, MEMORY, Ledger, served

CLI = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"
Run = Callable[..., "subprocess.CompletedProcess[str]"]
# A key store as the library knows them, of one file.
KEY_STORE = """
import json
from pathlib import Path
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 1
    path = Path(__file__).with_name("kept.json")
    def kept(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}
    def get_password(self, service, username):
        return self.kept().get(f"{service} {username}")
    def set_password(self, service, username, password):
        self.path.write_text(json.dumps({**self.kept(), f"{service} {username}": password}))
    def delete_password(self, service, username):
        self.path.write_text(json.dumps({k: v for k, v in self.kept().items() if k != f"{service} {username}"}))
"""


@pytest.fixture
def api() -> Iterator[tuple[str, Ledger]]:
    with served() as made:
        yield made


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`loglineos` on a machine without a key store, unless one is given."""

    def call(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "LOGLINEOS_URL")}
        environment = {
            **inherited, "XDG_CONFIG_HOME": str(tmp_path), "LOGLINEOS_DIRECTORY": str(tmp_path / "local"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", **variables,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-c", CLI, *arguments],
            input=stdin, capture_output=True, text=True, timeout=60, env=environment, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def enrolled(api: tuple[str, Ledger], run: Run) -> tuple[str, Ledger]:
    done = run("--url", api[0], "login", "--device", "a laptop", stdin=f"{CODE}\n")
    assert done.returncode == 0, done.stderr
    return api


def test_login_enrolls_this_machine_and_shows_no_secret(enrolled: tuple[str, Ledger], run: Run, tmp_path: Path) -> None:
    url, ledger = enrolled
    (registered,) = ledger.registered.values()
    assert registered["fingerprint"] == "a laptop"
    kept = tmp_path / "loglineos" / "devices.json"
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    key = json.loads(kept.read_text())[url]["key"]
    status = run("--url", url, "status", "--json")
    assert json.loads(status.stdout)["device"] == registered["device_id"]
    assert key not in status.stdout + status.stderr
    again = run("--url", url, "login", "--code", CODE)
    assert (again.returncode, "`logout` first" in again.stderr) == (1, True)


def test_the_key_is_in_the_key_store_where_there_is_one(api: tuple[str, Ledger], run: Run, tmp_path: Path) -> None:
    (tmp_path / "a_key_store.py").write_text(KEY_STORE)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    store = {"PYTHON_KEYRING_BACKEND": "a_key_store.Keyring", "PYTHONPATH": path}
    url, kept = api[0], tmp_path / "loglineos" / "devices.json"
    done = run("--url", url, "login", "--code", CODE, **store)
    assert "The key is in the system's key store." in done.stdout, done.stderr
    (key,) = json.loads((tmp_path / "kept.json").read_text()).values()
    assert len(key) == 64
    assert key not in kept.read_text()
    assert run("--url", url, "health", **store).returncode == 0
    (tmp_path / "kept.json").write_text("{}")
    gone = run("--url", url, "health", **store)
    assert (gone.returncode, "is gone from the system's key store" in gone.stderr) == (1, True)
    run("--url", url, "login", "--code", CODE, **store)
    assert run("--url", url, "logout", **store).returncode == 0
    assert json.loads(kept.read_text()) == {}


def test_a_wrong_code_is_a_sentence_and_the_next_try_has_the_same_key(api: tuple[str, Ledger], run: Run) -> None:
    url, ledger = api
    refused = run("--url", url, "login", "--code", "another")
    assert (refused.returncode, refused.stderr) == (1, "Error: no: rejected\n")
    unknown = run("--url", url, "health")
    assert f"this machine is not enrolled at {url}: `loglineos --url {url} login`" in unknown.stderr
    ledger.next_answers.append((500, {}))  # an answer that was lost: the code may be used up
    assert run("--url", url, "login", "--code", CODE).returncode == 1
    assert run("--url", url, "login", "--code", CODE).returncode == 0
    assert len(ledger.registered) == 1


def test_commands_work_as_on_the_local_stack(enrolled: tuple[str, Ledger], run: Run) -> None:
    url, ledger = enrolled
    booted = run("--url", url, "boot", "memory_store_kernel", "--input", '{"action":"list"}', "--request-id", MEMORY)
    assert json.loads(booted.stdout) == {
        "booted": {"boot_function_id": MEMORY, "input": {"action": "list"}}, "key": MEMORY,
    }  # fmt: skip
    note = {"entity_type": "note", "did": "said", "this": "hello"}
    assert "appended" in run("--url", url, "append", json.dumps(note)).stdout
    assert "hello" in run("--url", url, "timeline").stdout
    assert "memory_store_kernel" in run("--url", url, "health").stdout
    assert ledger.spans[0]["this"] == "hello"


def test_the_variable_suffices_once_enrolled_and_changes_nothing_before(
    enrolled: tuple[str, Ledger], run: Run, tmp_path: Path
) -> None:
    url = enrolled[0]
    status = run("status", "--json", LOGLINEOS_URL=url)
    assert json.loads(status.stdout)["url"] == url
    forgotten = run("logout", LOGLINEOS_URL=url)
    assert "revoke" in forgotten.stdout, forgotten.stderr
    assert json.loads((tmp_path / "loglineos" / "devices.json").read_text()) == {}
    local = run("status", LOGLINEOS_URL=url)
    assert (local.returncode, "start it with `loglineos up`" in local.stderr) == (3, True)


def test_a_revoked_device_is_told_what_to_do(enrolled: tuple[str, Ledger], run: Run) -> None:
    url, ledger = enrolled
    ledger.devices.clear()
    done = run("--url", url, "timeline")
    assert done.returncode == 1
    assert "does not know this device any more" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["query", "SELECT 1"], 1, "query is an operator's command"),
        (["migrate"], 1, "migrate is an operator's command"),
        (["timeline", "--user", "bob"], 1, "the device's key says that you are user:ana of acme"),
        (["boot", MEMORY, "--trace-id", "mine"], 1, "are not taken over HTTPS"),
        (["boot", "nope"], 2, "no kernel is called 'nope'; there are: memory_store_kernel"),
        (["boot", "00000000-0000-4000-8000-000000000001"], 1, "Error: no: not_allowed"),
        (["--env", "prod", "health"], 2, "--env and --url are two ways"),
    ],
)
def test_what_does_not_go_over_https_is_a_sentence(
    enrolled: tuple[str, Ledger], run: Run, arguments: list[str], code: int, sentence: str
) -> None:
    done = run("--url", enrolled[0], *arguments)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr


def test_an_unreachable_url_is_code_3(enrolled: tuple[str, Ledger], run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "loglineos" / "devices.json"
    kept.write_text(kept.read_text().replace(enrolled[0], "http://127.0.0.1:1"))
    done = run("--url", "http://127.0.0.1:1", "health")
    assert (done.returncode, "http://127.0.0.1:1 does not answer" in done.stderr) == (3, True)


@pytest.mark.parametrize("url", ["http://ledger.example.com", "ftp://x", "ledger.example.com", "https://x/?a=b", "//x"])
def test_tokens_go_over_tls_or_stay_on_this_machine(url: str, run: Run) -> None:
    with pytest.raises(ValueError, match=r"https"):
        checked_url(url)
    done = run("--url", url, "health")
    assert (done.returncode, "https" in done.stderr) == (2, True)


def device(url: str) -> Device:
    return enroll_device(url, CODE, app_name="tests", app_version="1", fingerprint="a test")


@pytest.mark.parametrize(("status", "headers"), [(429, {"retry-after": "0"}), (503, {"retry-after": "0"}), (429, {})])
def test_what_was_in_the_way_is_tried_again_with_another_token(
    status: int, headers: dict[str, str], api: tuple[str, Ledger]
) -> None:
    url, ledger = api
    with Client(url, device(url)) as client:
        ledger.next_answers += [(status, headers), (status, headers)]
        key = client.boot(MEMORY, {})["output"]["key"]
    calls = [headers for method, path, headers in ledger.calls if path == "/api/boot"]
    assert [headers["idempotency-key"] for headers in calls] == [key] * 3
    assert len({headers["authorization"] for headers in calls}) == 3


def test_who_is_asked_to_wait_long_is_told_at_once(api: tuple[str, Ledger]) -> None:
    url, ledger = api
    with Client(url, device(url)) as client:
        ledger.next_answers.append((429, {"retry-after": "3600"}))
        with pytest.raises(TooMany, match="Too Many Requests"):
            client.spans()


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthenticated), (409, Conflict), (413, Rejected), (422, Rejected), (504, Unavailable)]
)
def test_errors_have_types_and_are_not_tried_again(status: int, kind: type[Exception], api: tuple[str, Ledger]) -> None:
    url, ledger = api
    with Client(url, device(url)) as client:
        ledger.next_answers.append((status, {}))
        with pytest.raises(kind) as caught:
            client.append({"entity_type": "note", "did": "said", "this": "x"})
    assert caught.value.status == status  # type: ignore[attr-defined]
    assert ledger.spans == []


def test_following_yields_each_span_once_and_asks_only_for_what_is_new(api: tuple[str, Ledger]) -> None:
    url, ledger = api
    with Client(url, device(url)) as client:
        client.append(*({"entity_type": "note", "did": "said", "this": f"{n}"} for n in range(3)))
        spans = client.follow(pause=0.01)
        assert [next(spans)["this"] for _ in range(3)] == ["0", "1", "2"]
        later = threading.Timer(0.3, lambda: ledger.spans.append({"this": "3"}))
        later.start()
        assert next(spans)["this"] == "3"
        later.join()
    asked = [headers.get("if-none-match") for _, path, headers in ledger.calls if path.startswith("/api/timeline")]
    assert asked[0] == 'W/"beginning"'
    assert set(asked[1:]) == {'W/"3"'}


def test_a_repeated_append_appends_nothing_twice(api: tuple[str, Ledger]) -> None:
    url, ledger = api
    span = {"id": MEMORY, "at": "2026-11-23T00:00:00Z", "entity_type": "note", "did": "said", "this": "x"}
    with Client(url, device(url)) as client:
        client.append(span)
        client.append(span)
        client.append({"entity_type": "note", "did": "said", "this": "y"})
    assert [span["this"] for span in ledger.spans] == ["x", "y"]
    assert abs(time.time() - time.mktime(time.strptime(ledger.spans[1]["at"][:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400


def test_a_key_is_in_no_representation(api: tuple[str, Ledger]) -> None:
    made = device(api[0])
    assert made.key not in repr(made)
