"""One warm process of one function: started once, invoked many times, killed when it takes too long."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from .runtime_api import Answer, Invocation, RuntimeApi

_INIT_SECONDS = 10.0  # AWS's limit for loading the handler, on top of the function's own
_LOOK = 0.05  # how often to see whether the process still lives


@dataclass(frozen=True)
class Setting:
    """What a function's process is made from. Two equal settings can share a process."""

    arn: str
    name: str
    version: str
    runtime: str
    handler: str
    timeout: float
    memory: int
    region: str
    log_group: str
    path: tuple[Path, ...]
    environment: tuple[tuple[str, str], ...]


@dataclass
class Outcome:
    """What came of one invocation."""

    request_id: str
    body: bytes
    failed: bool
    logs: list[str] = field(default_factory=list)


class Worker:
    """The process, and the files it writes its output to."""

    def __init__(self, setting: Setting, common: dict[str, str], directory: Path) -> None:
        self.setting = setting
        self.stream = f"{time.strftime('%Y/%m/%d')}/[{setting.version}]{uuid.uuid4().hex}"
        self.alive, self.idle_since = True, 0.0
        self._api = RuntimeApi()
        # Output goes to a file and not to a pipe: once the answer is there so is every line before it.
        self._output = _nameless_file(directory)
        self._process = subprocess.Popen(  # noqa: S603  the handler's name is the template's
            # -S: no site-packages of the emulator's own, see package.py
            [sys.executable, "-S", "-m", "awslambdaric", setting.handler],
            cwd=setting.path[0],
            env=self._environment(common),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def usable(self) -> bool:
        """Whether it can serve again: nobody stopped it, and it has not ended by itself."""
        return self.alive and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def _environment(self, common: dict[str, str]) -> dict[str, str]:
        setting = self.setting
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": os.pathsep.join(map(str, setting.path)),
            "PYTHONUNBUFFERED": "1",
            "_HANDLER": setting.handler,
            "LAMBDA_TASK_ROOT": str(setting.path[0]),
            "LAMBDA_RUNTIME_DIR": str(setting.path[-1]),
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_LAMBDA_FUNCTION_NAME": setting.name,
            "AWS_LAMBDA_FUNCTION_VERSION": setting.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(setting.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": setting.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self.stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{setting.runtime}",
            "AWS_REGION": setting.region,
            "AWS_DEFAULT_REGION": setting.region,
            **common,
            **dict(setting.environment),
        }

    def invoke(self, payload: bytes) -> Outcome:
        """Run the handler once. A process that did not answer properly is dead afterwards."""
        request_id = str(uuid.uuid4())
        # A new process may take its time to load; the function's own time starts after that.
        began, answer = time.monotonic(), None
        self._wait_until_ready(began + _INIT_SECONDS + self.setting.timeout)
        started = time.monotonic()
        deadline = started + self.setting.timeout
        if self._api.answers.empty() and self._process.poll() is None:
            self._api.put(
                Invocation(
                    request_id,
                    payload,
                    int((time.time() + self.setting.timeout) * 1000),
                    self.setting.arn,
                    f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Parent={uuid.uuid4().hex[:16]};Sampled=0",
                )
            )
        answer = self._wait_for_answer(deadline)
        lines = self._read_output()
        if answer is None:
            answer = self._no_answer(request_id, lines)
        if answer.kind == "init_error" or not self.alive:
            self.stop()
        report = _report(request_id, time.monotonic() - started, started - began, self.setting)
        start = f"START RequestId: {request_id} Version: {self.setting.version}"
        return Outcome(request_id, answer.body, answer.kind != "response", [start, *lines, *report])

    def _wait_until_ready(self, deadline: float) -> None:
        while not self._api.ready.wait(_LOOK):
            if self._process.poll() is not None or time.monotonic() > deadline:
                return

    def _wait_for_answer(self, deadline: float) -> Answer | None:
        while True:
            try:
                return self._api.answers.get(timeout=max(0.0, min(_LOOK, deadline - time.monotonic())))
            except queue.Empty:
                if self._process.poll() is not None and self._api.answers.empty():
                    return None
                if time.monotonic() > deadline:
                    return None

    def _no_answer(self, request_id: str, lines: list[str]) -> Answer:
        """It died or ran out of time; either way it is of no more use."""
        self.alive = False
        status = self._process.poll()
        if status is None:
            message = f"Task timed out after {self.setting.timeout:.2f} seconds"
            lines.append(f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}Z {request_id} {message}")
            kind, text = "Sandbox.Timedout", f"RequestId: {request_id} Error: {message}"
        else:
            how = f"signal: {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            kind, text = (
                "Runtime.ExitError",
                f"RequestId: {request_id} Error: Runtime exited with error: {how}",
            )
            lines.append(text)
        return Answer("error", json.dumps({"errorType": kind, "errorMessage": text}).encode())

    def _read_output(self) -> list[str]:
        size = os.fstat(self._output).st_size
        text = os.pread(self._output, size, 0).decode("utf-8", "replace")
        os.ftruncate(self._output, 0)
        return [line for line in text.splitlines() if line]

    def stop(self) -> None:
        """Kill it and everything it started."""
        self.alive = False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._api.close()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1


def _nameless_file(directory: Path) -> int:
    """A file that goes when it is closed. Who writes to it always appends, however often it is emptied."""
    path = directory / f"output.{uuid.uuid4().hex}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    path.unlink()
    return descriptor


def _report(request_id: str, seconds: float, init: float, setting: Setting) -> list[str]:
    duration = seconds * 1000
    parts = [
        f"REPORT RequestId: {request_id}",
        f"Duration: {duration:.2f} ms",
        f"Billed Duration: {int(duration) + 1} ms",
        f"Memory Size: {setting.memory} MB",
    ]
    if init > _LOOK / 10:
        parts.append(f"Init Duration: {init * 1000:.2f} ms")
    return [f"END RequestId: {request_id}", "\t".join(parts)]
