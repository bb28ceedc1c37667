"""Where the two Lambdas are: in an AWS account or its emulator, or, for a bare database, in this process."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from ledger.errors import LedgerUnavailable
from loglineos.errors import CommandFailed
from loglineos.local.errors import LocalPostgresError
from loglineos.local.stack import LocalStack
from stacks.environment import ENVIRONMENTS, Environment

if TYPE_CHECKING:  # slow to import, and each of them is for one of the backends only
    from aws_lambda_powertools import Logger
    from botocore.exceptions import ClientError

    from stage0_loader.boot import Loader

Event = Mapping[str, Any]

URL_VARIABLE: Final = "LOGLINEOS_URL"  # the ledger where this machine is enrolled
# Seconds, longer than the functions may take.
_PATIENCE = 70
_LONG_PATIENCE = 910
# What each action signs with, or trusts: of a deployment's ledger nobody but the deployment can say it.
_NOTARYS = ("LOG_ORIGIN", "CHECKPOINT_KEY_HEX", "ARCHIVE_LOCATION")
NEEDED: Mapping[str, tuple[str, ...]] = {
    "boot": ("TRUSTED_ROW_KEYS", "SIGNING_KEY_HEX"),
    "append": ("TRUSTED_ROW_KEYS", "SIGNING_KEY_HEX"),
    "seed": ("TRUSTED_ROW_KEYS",),
    "checkpoint": _NOTARYS,
    "archive": _NOTARYS,
}


class Backend(Protocol):
    """The two functions of a deployment."""

    def load(self, event: Event) -> dict[str, Any]:
        """The loader's body on success. Raises CommandFailed, or LedgerUnavailable."""

    def migration(self, event: Event) -> dict[str, Any]:
        """db-migration's answer on success. Raises CommandFailed, or LedgerUnavailable."""

    def deployment(self, event: Event) -> dict[str, Any]:
        """The same by db-deploy, which runs the same code for up to 15 minutes and alone may write the archive."""


def choose_backend() -> Backend:
    """Of `--url` or `--env`; else where LOGLINEOS_URL says, if this machine is enrolled there; else the database of
    DATABASE_URL; else the local stack.
    """
    given = click.get_current_context().find_root().params
    environment, url = given.get("env"), given.get("url")
    if url or (not environment and (url := os.environ.get(URL_VARIABLE))):
        from loglineos.devices import Devices  # slow to import, as the next one
        from loglineos.http_backend import HttpBackend

        device = Devices().get(url)
        if device:
            return HttpBackend(url, device)
        if given.get("url"):
            raise CommandFailed(f"this machine is not enrolled at {url}: `loglineos --url {url} login`")
    if environment:
        return AwsBackend(environment)
    stack = LocalStack()
    if stack.database_url is not None:
        return InProcessBackend(stack)
    endpoint = stack.emulator.running()
    if endpoint is None:
        raise LocalPostgresError("The local stack is not running: start it with `loglineos up`.")
    return AwsBackend("local", endpoint.environment)


@dataclass(frozen=True)
class AwsBackend:
    """Invokes the functions of a deployed environment, which the outputs of its stack name.

    `variables` point to an emulator; without them it is the account of the caller's own AWS settings.
    """

    environment: str
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    _names: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def load(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        return _checked(json.loads(self._invoke("LoaderFunctionName", event)["body"]))

    def migration(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        return _checked(self._invoke("MigrationFunctionName", event))

    def deployment(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        return _checked(self._invoke("DeployFunctionName", event, _LONG_PATIENCE))

    def client(self, service: str, patience: int = _PATIENCE) -> Any:
        """A client of an AWS service, for this environment, which waits `patience` seconds for an answer."""
        import boto3  # slow to import, and only needed here
        from botocore.config import Config

        # One try: a boot that was sent twice could run twice.
        config = Config(connect_timeout=5, read_timeout=patience, retries={"total_max_attempts": 1})
        if not self.variables:
            return boto3.client(service, config=config)
        return boto3.client(
            service,
            config=config,
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            region_name=self.variables["AWS_REGION"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
        )

    def output(self, part: str, name: str) -> str:
        """An output of one of the environment's stacks."""
        from botocore.exceptions import BotoCoreError, ClientError  # slow to import

        stack = f"loglineos-{part}{ENVIRONMENTS[self.environment].get('suffix', Environment.suffix)}"
        try:
            outputs = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
        except ClientError as error:
            raise CommandFailed(f"the stack {stack} cannot be read: {_said(error)}. Is it deployed here?") from error
        except BotoCoreError as error:
            raise LedgerUnavailable(str(error)) from error
        found = {output["OutputKey"]: str(output["OutputValue"]) for output in outputs}
        if name not in found:
            raise CommandFailed(f"the stack {stack} has no output {name}: deploy this release")
        return found[name]

    def _invoke(self, output: str, event: Event, patience: int = _PATIENCE) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # slow to import

        name = self._function(output)
        try:
            response = self.client("lambda", patience).invoke(
                FunctionName=name, Payload=json.dumps(dict(event)).encode()
            )
        except ClientError as error:
            raise CommandFailed(f"{name} cannot be invoked: {_said(error)}") from error
        except BotoCoreError as error:
            raise LedgerUnavailable(str(error)) from error
        payload: dict[str, Any] = json.loads(response["Payload"].read())
        if "FunctionError" in response:
            raise CommandFailed(f"{name} failed: {payload.get('errorMessage', payload)}; see its log group")
        return payload

    def _function(self, output: str) -> str:
        if output not in self._names:
            self._names[output] = self.output("deployment" if output == "DeployFunctionName" else "functions", output)
        return self._names[output]


@dataclass(frozen=True)
class InProcessBackend:
    """Runs the handlers of this checkout against the database of DATABASE_URL.

    For a ledger that another log has sealed no key is made up: what would write asks for what it needs.
    """

    stack: LocalStack

    @cached_property
    def foreign_log(self) -> str | None:
        """See LocalStack."""
        return self.stack.foreign_log()

    def archive_location(self) -> str:
        """Where the archive is, and the log in it. Raises CommandFailed: this machine does not know."""
        found = self.stack.migration_environment(self.foreign_log).get("ARCHIVE_LOCATION")
        if found is None:
            raise CommandFailed(f"the log of this ledger, {self.foreign_log}, is not here: say where by --log")
        return found

    def _require(self, action: object) -> None:
        missing = [name for name in NEEDED.get(str(action), ()) if name not in self.stack.environment]
        if missing and self.foreign_log:
            raise CommandFailed(
                f"this ledger has a log of its own, {self.foreign_log}, and no key is made up for it: set"
                f" {', '.join(missing)} to what its deployment has, or go through the deployment (--env)"
            )

    def load(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        self._require(event.get("action"))
        from stage0_loader import handler as loader_handler  # slow to import

        answer = loader_handler.handle(self._loader, dict(event), None)
        return _checked(json.loads(answer["body"]))

    def migration(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        from db_migration import handler as migration_handler  # slow to import

        self._require(event.get("action"))
        self._log_to_file(migration_handler.logger)
        return _checked(migration_handler.answer(dict(event), self.stack.migration_environment(self.foreign_log)))

    def deployment(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        return self.migration(event)

    @cached_property
    def _loader(self) -> Loader:
        from stage0_loader import handler as loader_handler  # slow to import
        from stage0_loader.settings import Settings

        self._log_to_file(loader_handler.logger)
        settings = Settings.from_environment(self.stack.loader_environment(self.foreign_log))
        return loader_handler.make_loader(settings, loader_handler.logger)

    def _log_to_file(self, logger: Logger) -> None:
        """On AWS the log is a stream beside the answer; here it is a file, so that output stays clean."""
        path = self.stack.log_file(logger.service)
        handler = logger.registered_handler
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(path.open("a", encoding="utf-8"))
        logger.setLevel(self.stack.environment.get("LOG_LEVEL", "INFO"))


def _said(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", error))


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("ok"):
        return body
    error = body["error"]
    if error["code"] == "ledger_unavailable":
        raise LedgerUnavailable
    details = {key: value for key, value in error.items() if key not in ("code", "message")}
    raise CommandFailed(error["message"], answer=body, **details)
