"""The real app on the emulator: a copy of this repository, deployed by the unmodified CDK."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, LiteralString

import boto3
import psycopg
from botocore.config import Config

from loglineos.aws import Emulator, write_environment
from loglineos.aws.deploy import ROOT, bootstrap, cdk
from loglineos.local.postgres import LocalPostgres

STACKS = (
    *("keys", "access", "network", "archive", "database"),
    *("deployment", "functions", "edge", "schedules", "monitoring"),
)
TEMPLATES = tuple(f"loglineos-{part}" for part in STACKS)
LOADER, MIGRATION = "loglineos-stage0-loader", "loglineos-db-migration"
MEMORY, PROMPT = "00000000-0000-4000-8000-000000000007", "00000000-0000-4000-8000-000000000006"
WELCOME = {"name": "welcome_message", "variables": {"user_name": "Ana"}}
# What pins this machine's processor and interpreter: bundles have to run here.
HERE = {
    "env": "local",
    "architecture": {"aarch64": "arm64"}.get(platform.machine(), platform.machine()),
    "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
}

Rows = list[tuple[Any, ...]]


class Done:
    """What a command printed, and its return code."""

    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code, self.lines = process.returncode, (process.stdout + process.stderr).splitlines()
        self.text = "\n".join(self.lines)


class Rehearsal:
    """A repository of its own, an emulator of its own, and what can be asked of both."""

    def __init__(self, home: Path, bundles: Path) -> None:
        self.home, self.repository, self._bundles = home, home / "repository", bundles
        _copy_repository(self.repository)
        shutil.copytree(bundles, self.repository / "cdk.out", ignore=shutil.ignore_patterns("*.partial"))
        self.postgres = LocalPostgres(home / "postgres", durable=False)
        self.emulator = Emulator(home / "aws", self.postgres)
        self.endpoint = self.emulator.start()
        self.printed: list[str] = []
        self.client = cache(self._client)
        write_environment(self.endpoint, home / "env")

    def bootstrap(self) -> Done:
        where = self.endpoint
        return Done(bootstrap(where.environment, where.account, where.region, capture=True))

    def cdk(self, verb: str, *arguments: str, **context: str) -> Done:
        """`cdk <verb> … -c env=local`, of the copied repository."""
        settings = [word for name, value in {**HERE, **context}.items() for word in ("-c", f"{name}={value}")]
        done = Done(
            cdk(
                verb,
                *arguments,
                *settings,
                env=self.endpoint.environment,
                root=self.repository,
                capture=True,
                timeout=600,  # of a busy machine, for what has hung
            )
        )
        self.printed.append(done.text)
        return done

    def deploy(self, deployment_id: str, **context: str) -> Done:
        """All stacks. Whoever calls asserts on what is there then, but a failure is shown at once."""
        done = self.cdk("deploy", "--all", deployment_id=deployment_id, **context)
        assert done.code == 0, done.text
        self._keep_bundles()
        return done

    def _keep_bundles(self) -> None:
        """For the next account. Their names are the hashes of what they are made from."""
        for bundle in self.repository.glob("cdk.out/asset.*.zip"):
            if not (self._bundles / bundle.name).exists():
                partial = self._bundles / f"{bundle.name}.{os.getpid()}.partial"  # another worker may be reading
                shutil.copy2(bundle, partial)
                partial.rename(self._bundles / bundle.name)

    def shell(self, line: str) -> Done:
        """A line of the manual, by bash, in a folder of its own with `env` sourced."""
        process = subprocess.run(
            ["bash", "-c", f"set -e; . {self.home}/env\n{line}"],
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(process)

    @property
    def response(self) -> Any:
        """What the manual's `aws lambda invoke` left in response.json."""
        return json.loads((self.home / "response.json").read_text())

    def _client(self, service: str) -> Any:
        environment = self.endpoint.environment
        return boto3.session.Session().client(
            service,
            endpoint_url=self.endpoint.url,
            region_name=self.endpoint.region,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )

    def statuses(self) -> dict[str, str]:
        """Of the app's stacks that are there."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        return {one["StackName"]: one["StackStatus"] for one in stacks if one["StackName"] != "CDKToolkit"}

    def events(self, stack: str) -> list[dict[str, Any]]:
        """Newest first."""
        pages = self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack)
        return [event for page in pages for event in page["StackEvents"]]

    def event_counts(self) -> dict[str, int]:
        return {stack: len(self.events(stack)) for stack in TEMPLATES}

    def template(self, stack: str) -> dict[str, Any]:
        """As it was synthesized last."""
        found: dict[str, Any] = json.loads((self.repository / "cdk.out" / f"{stack}.template.json").read_text())
        return found

    def logs(self, group: str) -> list[str]:
        """Every message of a log group, oldest first."""
        api = self.client("logs")
        streams = api.describe_log_streams(logGroupName=group)["logStreams"]
        pages = [
            api.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)
            for stream in streams
        ]
        events = [event for page in pages for event in page["events"]]
        return [event["message"] for event in sorted(events, key=lambda event: event["timestamp"])]

    def sql(self, statement: LiteralString, *parameters: Any) -> Rows:
        """As the superuser: what is in the database, whatever its policies show."""
        server = self.postgres.running()
        assert server is not None
        with psycopg.connect(server.url("rdsadmin", "loglineos"), autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def spans(self) -> set[tuple[Any, ...]]:
        """Every span, by what its hash covers."""
        return set(self.sql("SELECT id::text, seq, curr_hash, prev_hash FROM ledger.universal_registry"))

    def migrations(self) -> list[str]:
        return [name for (name,) in self.sql("SELECT name FROM app.schema_migration ORDER BY name")]

    def boot(self, kernel: str, given: dict[str, Any]) -> dict[str, Any]:
        """The body that the deployed loader answers, through AWS's API."""
        event = {"action": "boot", "boot_function_id": kernel, "input": given, "user_id": "ana", "tenant_id": "acme"}
        answer = self.client("lambda").invoke(FunctionName=LOADER, Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, payload
        body: dict[str, Any] = json.loads(payload["body"])
        return body

    def remember(self, content: str) -> None:
        assert self.boot(MEMORY, {"action": "store", "content": content})["ok"]

    def found(self, words: str) -> list[str]:
        """What the memory kernel finds."""
        answer = self.boot(MEMORY, {"action": "search", "search_query": words})
        return [memory["content"] for memory in answer["output"]["memories"]]

    def close(self) -> None:
        self.emulator.stop()
        self.postgres.remove()


def _copy_repository(to: Path) -> None:
    """What git would commit, without the tests; the CDK's package by a link."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    (to / "node_modules").symlink_to(ROOT / "node_modules")


@contextmanager
def rehearsal_of(bundles: Path) -> Iterator[Rehearsal]:
    """A bootstrapped account with nothing of ours in it yet."""
    home = Path(tempfile.mkdtemp(prefix="loglineos-rehearsal-"))
    home.chmod(0o755)  # as root PostgreSQL runs as another user, who has to get in
    try:
        made = Rehearsal(home, bundles)
        try:
            done = made.bootstrap()
            assert done.code == 0, done.text
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


class Release:
    """Changes to the copied repository, as a commit would bring them."""

    def __init__(self, repository: Path) -> None:
        self._rows, self._migrations = repository / "row" / "kernels", repository / "migrations"

    def prompt_kernel(self, seq: int) -> None:
        """A version that says its own `seq`: the last line again, with another number and other code."""
        rows = self._rows / "prompt_fetch_kernel.ndjson"
        lines = rows.read_text(encoding="utf-8").splitlines()
        last = json.loads(lines[-1])
        code = (self._rows / last["code_file"]).read_text(encoding="utf-8")
        told = re.sub(r'return \{\n(        "version": \d+,\n)?', f'return {{\n        "version": {seq},\n', code)
        assert told != code
        new = {**last, "seq": seq, "code_file": f"prompt_fetch_kernel_{seq}.py"}
        (self._rows / new["code_file"]).write_text(told, encoding="utf-8")
        rows.write_text("\n".join([*lines, json.dumps(new)]) + "\n", encoding="utf-8")

    def row(self, **values: Any) -> None:
        """One more row, in a file of its own."""
        path = self._rows.parent / "more" / f"{values['id']}.ndjson"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values) + "\n", encoding="utf-8")

    def migration(self, thing: str, statements: str) -> str:
        """The next number's file, or the same again if it is there; its name."""
        there = sorted(path.name for path in self._migrations.glob("*.sql"))
        name = next((one for one in there if one.endswith(f"_{thing}.sql")), f"{int(there[-1][:4]) + 1:04}_{thing}.sql")
        (self._migrations / name).write_text(f"-- phase: pre\n{statements}\n", encoding="utf-8")
        return name


def released_rows(repository: Path, folder: str = "") -> dict[tuple[str, int], str]:
    """The rows of `row/`, or of one of its folders: the code by id and seq, empty for what has none."""
    found = {}
    for path in sorted((repository / "row" / folder).rglob("*.ndjson")):
        for line in filter(None, path.read_text(encoding="utf-8").splitlines()):
            row = json.loads(line)
            code = (path.parent / row["code_file"]).read_text(encoding="utf-8") if "code_file" in row else ""
            found[row["id"], row["seq"]] = code
    return found
