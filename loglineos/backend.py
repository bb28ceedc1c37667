"""Where the two Lambdas are: here, run in this process by the local stack."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from aws_lambda_powertools import Logger

from db_migration import handler as migration_handler
from ledger.errors import LedgerError, LedgerUnavailable
from loglineos.local.postgres import LocalPostgresError, Server
from loglineos.local.stack import LocalStack
from stage0_loader import handler as loader_handler
from stage0_loader.boot import Loader
from stage0_loader.settings import Settings

Event = Mapping[str, Any]


class CommandFailed(LedgerError):
    """A Lambda answered with an error; it is the Lambda's own sentence."""

    code = "failed"


class Backend(Protocol):
    """The two functions of a deployment."""

    def load(self, event: Event) -> dict[str, Any]:
        """The loader's body on success. Raises CommandFailed, or LedgerUnavailable."""

    def migration(self, event: Event) -> dict[str, Any]:
        """db-migration's answer on success. Raises CommandFailed, or LedgerUnavailable."""


@dataclass(frozen=True)
class LocalBackend:
    """Runs the handlers of this checkout against the local stack's database."""

    stack: LocalStack = field(default_factory=LocalStack)

    def load(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        answer = loader_handler.handle(self._loader, dict(event), None)
        return _checked(json.loads(answer["body"]))

    def migration(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        self._log_to_file(migration_handler.logger)
        return _checked(migration_handler.answer(dict(event), self.stack.migration_environment(self.server)))

    @cached_property
    def server(self) -> Server | None:
        """The local PostgreSQL; None where DATABASE_URL names another. Raises LocalPostgresError if it is down."""
        if self.stack.database_url is not None:
            return None
        server = self.stack.postgres.running()
        if server is None:
            raise LocalPostgresError("The local ledger is not running: start it with `loglineos up`.")
        return server

    @cached_property
    def _loader(self) -> Loader:
        self._log_to_file(loader_handler.logger)
        settings = Settings.from_environment(self.stack.loader_environment(self.server))
        return loader_handler.make_loader(settings, loader_handler.logger)

    def _log_to_file(self, logger: Logger) -> None:
        """On AWS the log is a stream beside the answer; here it is a file, so that output stays clean."""
        path = self.stack.directory / "logs" / f"{logger.service}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logger.registered_handler
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(path.open("a", encoding="utf-8"))
        logger.setLevel(self.stack.environment.get("LOG_LEVEL", "INFO"))


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    if body.get("ok"):
        return body
    error = body["error"]
    if error["code"] == "ledger_unavailable":
        raise LedgerUnavailable
    details = {key: value for key, value in error.items() if key not in ("code", "message")}
    raise CommandFailed(error["message"], answer=body, **details)
