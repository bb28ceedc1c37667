"""Functions that really run, and every way in which they can end; without any CloudFormation."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

HERE = Path(__file__).parent
Client = Callable[[str], Any]
Invoke = Callable[..., dict[str, Any]]
NAME = "free-worker"


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*.py")):
            archive.write(path, path.relative_to(folder))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def functions(client: Client) -> Iterator[Any]:
    role = client("iam").create_role(RoleName="free", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    letters = client("sqs").create_queue(QueueName="free-letters")["QueueUrl"]
    made = client("lambda")
    layer = made.publish_layer_version(LayerName="free", Content={"ZipFile": zipped(HERE / "layer")})
    made.create_function(
        FunctionName=NAME,
        Runtime="python3.13",
        Role=role,
        Handler="index.handler",
        Code={"ZipFile": zipped(HERE / "functions" / "worker")},
        Layers=[layer["LayerVersionArn"]],
        Environment={"Variables": {"SETTING": "private"}},
        Timeout=2,
        MemorySize=128,
        DeadLetterConfig={"TargetArn": "arn:aws:sqs:us-east-2:123456789012:free-letters"},
    )
    yield made
    made.delete_function(FunctionName=NAME)
    client("sqs").delete_queue(QueueUrl=letters)
    client("iam").delete_role(RoleName="free")


@pytest.fixture
def invoke(functions: Any) -> Invoke:
    def run(event: Any = None, **how: Any) -> dict[str, Any]:
        payload = event if isinstance(event, bytes) else json.dumps(event or {}).encode()
        answer = functions.invoke(FunctionName=NAME, Payload=payload, **how)
        body = answer["Payload"].read()
        tail = base64.b64decode(answer.get("LogResult", "")).decode().splitlines()
        return {**answer, "body": json.loads(body) if body else None, "tail": tail}

    return run


def test_the_deployed_code_answers_with_its_layer_and_its_environment(invoke: Invoke) -> None:
    answer = invoke({"name": "world"})
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    assert answer["body"]["greeting"] == "hello world"
    assert answer["body"]["setting"] == "private"
    assert answer["body"]["name"] == NAME
    assert 0 < answer["body"]["left"] <= 2000


def test_a_warm_process_serves_again_and_new_configuration_replaces_it(invoke: Invoke, functions: Any) -> None:
    first, second = invoke()["body"], invoke()["body"]
    assert first["pid"] == second["pid"]
    functions.update_function_configuration(FunctionName=NAME, Environment={"Variables": {"SETTING": "other"}})
    third = invoke()["body"]
    assert (third["setting"], third["pid"] == first["pid"]) == ("other", False)
    assert not Path(f"/proc/{first['pid']}").exists()


def test_secrets_and_environment_are_on_no_command_line(invoke: Invoke) -> None:
    pid = invoke()["body"]["pid"]
    shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True)
    assert "awslambdaric" in shown.stdout
    assert "private" not in shown.stdout
    assert "AWS_" not in shown.stdout


def test_its_aws_clients_find_the_emulator(invoke: Invoke) -> None:
    assert invoke({"do": "identity"})["body"] == "123456789012"


def test_it_sees_the_runtime_and_its_layers_but_not_the_packages_of_the_emulator(invoke: Invoke) -> None:
    found = invoke({"do": "modules", "names": ["boto3", "greetings", "moto", "psycopg", "loglineos"]})["body"]
    assert found == {"boto3": True, "greetings": True, "moto": False, "psycopg": False, "loglineos": False}


def test_an_exception_is_a_function_error_with_its_type_and_message(invoke: Invoke) -> None:
    answer = invoke({"do": "raise"})
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (answer["body"]["errorType"], answer["body"]["errorMessage"]) == ("ValueError", "no good")
    assert invoke()["body"]["greeting"] == "hello nobody"


def test_a_timeout_kills_the_process(invoke: Invoke) -> None:
    pid = invoke()["body"]["pid"]
    began = time.monotonic()
    answer = invoke({"do": "sleep", "seconds": 30}, LogType="Tail")
    assert time.monotonic() - began < 10
    assert answer["FunctionError"] == "Unhandled"
    assert answer["body"]["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 2.00 seconds" in answer["body"]["errorMessage"]
    assert any("Task timed out" in line for line in answer["tail"])
    assert not Path(f"/proc/{pid}").exists()
    assert invoke()["body"]["pid"] != pid


@pytest.mark.parametrize(("how", "says"), [("exit", "exit status 3"), ("die", "signal: SIGKILL")])
def test_a_process_that_ends_by_itself_is_an_exit_error(invoke: Invoke, how: str, says: str) -> None:
    answer = invoke({"do": how})
    assert answer["FunctionError"] == "Unhandled"
    assert says in answer["body"]["errorMessage"]
    assert invoke()["body"]["greeting"] == "hello nobody"


def test_an_idle_process_that_somebody_kills_is_replaced(invoke: Invoke) -> None:
    pid = invoke()["body"]["pid"]
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    answer = invoke()
    assert "FunctionError" not in answer
    assert answer["body"]["pid"] != pid


def test_the_tail_has_start_output_end_and_report(invoke: Invoke) -> None:
    tail = invoke(LogType="Tail")["tail"]
    assert [line.split(" ")[0] for line in tail] == ["START", "working", "END", "REPORT"]
    assert "Memory Size: 128 MB" in tail[-1]
    assert "LogResult" not in invoke()


def test_its_output_is_in_cloudwatch_logs(invoke: Invoke, client: Client) -> None:
    invoke({"do": "raise"})
    logs = client("logs")
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{NAME}", filterPattern="ERROR")["events"]
    assert "ValueError: no good" in found[-1]["message"]
    streams = logs.describe_log_streams(logGroupName=f"/aws/lambda/{NAME}")["logStreams"]
    assert all("[$LATEST]" in stream["logStreamName"] for stream in streams)


def test_dry_run_event_and_unknown_functions(invoke: Invoke, functions: Any) -> None:
    assert invoke(InvocationType="DryRun")["StatusCode"] == 204
    assert invoke(InvocationType="Event")["StatusCode"] == 202
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        functions.invoke(FunctionName="nobody")


def test_a_payload_that_is_no_json_is_refused(invoke: Invoke) -> None:
    with pytest.raises(ClientError) as refused:
        invoke(b'{"action":')
    assert refused.value.response["Error"]["Code"] == "InvalidRequestContentException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_an_asynchronous_failure_is_tried_three_times_and_left_in_the_queue(invoke: Invoke, client: Client) -> None:
    sqs = client("sqs")
    letters = sqs.get_queue_url(QueueName="free-letters")["QueueUrl"]
    before = failures(client)
    invoke({"do": "raise", "mark": "dead"}, InvocationType="Event")
    (letter,) = sqs.receive_message(QueueUrl=letters, WaitTimeSeconds=15, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(letter["Body"]) == {"do": "raise", "mark": "dead"}
    assert letter["MessageAttributes"]["ErrorMessage"]["StringValue"] == "no good"
    assert failures(client) == before + 3


def failures(client: Client) -> int:
    group = f"/aws/lambda/{NAME}"
    return len(client("logs").filter_log_events(logGroupName=group, filterPattern="ERROR")["events"])


@pytest.fixture
def meeting() -> Iterator[str]:
    """A place that answers only when two have come."""
    both = threading.Barrier(2)

    class Place(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = both.wait(timeout=15)
            body = str(number).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Place)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_two_invocations_at_once_run_at_once(invoke: Invoke, meeting: str, functions: Any) -> None:
    functions.update_function_configuration(FunctionName=NAME, Timeout=20)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: invoke({"do": "parallel", "url": meeting}), range(2)))
    assert sorted(answer["body"] for answer in answers) == [0, 1]


def test_reserved_concurrency_throttles(invoke: Invoke, functions: Any) -> None:
    functions.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=1)
    assert functions.get_function_concurrency(FunctionName=NAME)["ReservedConcurrentExecutions"] == 1
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(invoke, {"do": "sleep", "seconds": 3})
        time.sleep(1)
        with pytest.raises(ClientError) as refused:
            invoke()
        assert busy.result()["StatusCode"] == 200
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert refused.value.response["Error"]["Code"] == "TooManyRequestsException"
    functions.delete_function_concurrency(FunctionName=NAME)


def test_new_code_is_what_runs_next(invoke: Invoke, functions: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.py", "def handler(event, context):\n    return 'new'\n")
    functions.update_function_code(FunctionName=NAME, ZipFile=buffer.getvalue())
    assert invoke()["body"] == "new"


def test_a_program_in_the_zip_stays_executable(invoke: Invoke, functions: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        program = zipfile.ZipInfo("bin/tool")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "#!/bin/sh\necho ran\n")
        archive.writestr(
            "index.py",
            "import pathlib, subprocess\n"
            "def handler(event, context):\n"
            "    tool = pathlib.Path(__file__).with_name('bin') / 'tool'\n"
            "    return subprocess.run([tool], capture_output=True, text=True, check=True).stdout\n",
        )
    functions.update_function_code(FunctionName=NAME, ZipFile=buffer.getvalue())
    assert invoke()["body"] == "ran\n"


def test_code_that_does_not_load_says_why(invoke: Invoke, functions: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.py", "import nothing_of_the_kind\n")
    functions.update_function_code(FunctionName=NAME, ZipFile=buffer.getvalue())
    answer = invoke()
    assert answer["FunctionError"] == "Unhandled"
    assert "No module named 'nothing_of_the_kind'" in answer["body"]["errorMessage"]
