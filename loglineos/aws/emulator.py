"""The emulator as the rest of LogLineOS sees it: start it, stop it, and where it is."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from loglineos.local.postgres import LocalPostgres

from .addresses import ACCESS_KEY, ACCOUNT, HEALTH_PATH, HOST, SECRET_KEY
from .files import Files, Info

# Not us-east-1: for RDS the command line has an address of its own there, whatever AWS_ENDPOINT_URL says.
REGION = "us-east-2"
_PATIENCE = 60.0


class EmulatorError(Exception):
    """The emulator could not be started or stopped; the message says what to look at."""


@dataclass(frozen=True)
class Endpoint:
    """Where a running emulator is, and what a program needs in its environment to find it.

    `api_url` is where the deployed HTTP API answers.
    """

    url: str
    api_url: str
    region: str = REGION
    account: str = ACCOUNT

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_SESSION_TOKEN": "",
            "AWS_PROFILE": "",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "LOGLINEOS_URL": self.api_url,
            "CDK_DEFAULT_ACCOUNT": self.account,
            "CDK_DEFAULT_REGION": self.region,
            "CDK_DISABLE_CLI_TELEMETRY": "1",
        }


class Emulator:
    """The emulator of one directory. It runs in the background until it is stopped.

    `clock`: rules fire by themselves. Without it they wait for `schedules.fire`, so that nothing moves under a test.
    """

    def __init__(self, directory: Path, postgres: LocalPostgres, *, region: str = REGION, clock: bool = False) -> None:
        self._files, self._postgres, self._region, self._clock = Files(directory), postgres, region, clock

    @property
    def log(self) -> Path:
        return self._files.log

    def running(self) -> Endpoint | None:
        info = self._files.read()
        return _endpoint(info) if info and _answers(info) else None

    def start(self) -> Endpoint:
        """The running emulator, started if there is none. Its stacks live as long as it does, data longer."""
        found = self.running()
        if found:
            return found
        if sys.platform != "linux":
            raise EmulatorError("the emulator runs functions by AWS's runtime client, which there is for Linux only")
        self._postgres.start()
        self._files.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  our own module
                [
                    sys.executable,
                    "-m",
                    "loglineos.aws.daemon",
                    *("--directory", str(self._files.directory)),
                    *("--postgres", str(self._postgres.directory)),
                    *("--region", self._region),
                    *(["--clock"] if self._clock else []),
                ],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._wait(process)

    def _wait(self, process: subprocess.Popen[bytes]) -> Endpoint:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            found = self.running()
            if found:
                return found
            if process.poll() is not None and not self._files.in_use():
                break
            time.sleep(0.1)
        raise EmulatorError(f"the AWS emulator did not start; the last lines of {self.log}:\n{self._last_words()}")

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])
        return "(there is none)"

    def stop(self) -> bool:
        """Stop it and the functions it runs. False if none was running."""
        info = self._files.read()
        if info is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(info.pid, signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while self._files.in_use():
            if time.monotonic() > deadline:
                raise EmulatorError(f"the AWS emulator (process {info.pid}) does not stop")
            time.sleep(0.05)
        return True


def _endpoint(info: Info) -> Endpoint:
    return Endpoint(f"http://{HOST}:{info.port}", f"http://{HOST}:{info.api_port}", info.region)


def _answers(info: Info) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{info.port}{HEALTH_PATH}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def write_environment(endpoint: Endpoint, path: Path, **more: str) -> None:
    """A file to `source`: `aws`, `cdk` and `loglineos` then go to the emulator.

    Programs of this environment come first on the PATH, so that `aws` is the pinned one.
    """
    programs = shlex.quote(str(Path(sys.executable).parent))
    lines = [
        "# Written by the local stack. `source` it; a new shell is as before.",
        f'export PATH={programs}:"$PATH"',
    ]
    values = {**endpoint.environment, **more}
    lines += [f"export {name}={shlex.quote(value)}" if value else f"unset {name}" for name, value in values.items()]
    # Version 1 of the command line has addresses of its own for SQS, whatever AWS_ENDPOINT_URL says.
    lines.append('aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }')
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
