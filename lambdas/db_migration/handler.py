"""loglineos-db-migration: `migrate`, `seed`, `query` (manual section 3), and what its operators ask beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import psycopg
from aws_lambda_powertools import Logger

from ledger.connection import Target, connect
from ledger.database import raise_typed
from ledger.errors import LedgerError, LedgerUnavailable, Misconfigured, QueryFailed
from ledger.proof import parse_public_keys, parse_signing_key
from ledger.secret import read_secret
from ledger.settings import asset_directory

from . import targets
from .era import begin_era, show_eras
from .event import Archive, Checkpoint, Era, Keys, Migrate, Query, Queue, Request, Seed, Xray, parse_event
from .keys import show_keys, show_retirement
from .migrations import migrate, read_migrations, state_of
from .notary.rebuild import rebuild
from .notary.seal import seal as seal_spans
from .notary.settings import Settings as NotarySettings
from .query import TIMEOUT_S, run_query
from .queue import rebuild_queue, show_queue
from .rows import read_rows
from .seed import seed, summary
from .xray.action import xray

logger = Logger(service="loglineos-db-migration")


def handler(event: Any, context: Any = None) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Answer `{"ok": true, "action", …}`, or `{"ok": false, "error": {"code", "message", …}}`; never raises."""
    return answer(event, os.environ)


def answer(event: Any, environment: Mapping[str, str], log: Logger = logger) -> dict[str, Any]:
    """The handler, with its settings and its log passed in."""
    try:
        request = parse_event(event)
        log.info("request", action=request.action)
        return {"ok": True, "action": request.action, **perform(request, environment)}
    except LedgerError as error:
        # PostgreSQL's sentence about a query may quote its values: they are for the caller alone.
        said = error.details.get("sqlstate") if isinstance(error, QueryFailed) else error.message
        reason = error.reason if isinstance(error, LedgerUnavailable) else None
        log.error("ERROR request failed", code=error.code, error=said, reason=reason)
        return {"ok": False, "error": {"code": error.code, "message": error.message, **error.details}}
    except Exception as error:
        # The text may hold what the caller must not see: it goes to the log only.
        log.exception("ERROR request failed")
        return {"ok": False, "error": {"code": "internal", "message": f"{type(error).__name__}; see the log"}}


def perform(request: Request, environment: Mapping[str, str]) -> dict[str, Any]:
    """Carry the request out. Raises LedgerError."""
    match request:
        case Migrate():
            return _migrate(request, environment)
        case Seed():
            return _seed(environment)
        case Query():
            return _query(request, environment)
        case Keys():
            return _keys(request, environment)
        case Queue():
            with connect(Target.from_environment(environment, role=None)) as connection:
                return rebuild_queue(connection) if request.rebuild else show_queue(connection)
        case Checkpoint():
            return _checkpoint(request, NotarySettings.from_environment(environment))
        case Archive():
            return _archive(request, environment)
        case Era():
            with connect(Target.from_environment(environment, role=None)) as connection:
                return {"eras": begin_era(connection, request.reason) if request.reason else show_eras(connection)}
        case Xray():
            return xray(environment, request.sections, request.verify)


def _migrate(request: Migrate, environment: Mapping[str, str]) -> dict[str, Any]:
    migrations = read_migrations(asset_directory("migrations"))
    with connect(Target.from_environment(environment, role=None)) as connection:
        if request.dry_run:
            applied: list[str] = []
            state = state_of(connection, migrations)
        else:
            applied, state = migrate(connection, migrations, request.phase)
    result: dict[str, Any] = {
        "applied": applied,
        "pending": [m.name for m in state.pending],
        "ahead": state.ahead,
    }
    if state.ahead:
        result["warning"] = "the database is ahead of this release, by migrations that do not break it"
        logger.warning(result["warning"], ahead=state.ahead)
    return result


def _seed(environment: Mapping[str, str]) -> dict[str, Any]:
    private = read_secret("ROW_SIGNING_KEY", environment)
    key = parse_signing_key(private, "ROW_SIGNING_KEY_HEX") if private else None
    trusted = parse_public_keys(environment.get("TRUSTED_ROW_KEYS", ""), "TRUSTED_ROW_KEYS")
    required = environment.get("REQUIRE_SIGNED_ROWS", "0")
    if required not in ("0", "1"):
        raise Misconfigured(f"REQUIRE_SIGNED_ROWS must be 0 or 1, not {required!r}")
    if required == "1" and not trusted:
        raise Misconfigured("REQUIRE_SIGNED_ROWS is set: TRUSTED_ROW_KEYS must hold the public keys that sign rows")
    rows = read_rows(asset_directory("row"))
    with connect(Target.from_environment(environment, role=None)) as connection:
        report = seed(connection, rows, key, trusted)
    return {
        "inserted": summary(report.inserted),
        "unchanged": summary(report.unchanged),
        "skipped": summary(report.skipped),
    }


def _keys(request: Keys, environment: Mapping[str, str]) -> dict[str, Any]:
    # What a retirement says is signed by people: it is not read from a replica.
    target = targets.ledger(environment) if request.retire else targets.reports(environment)
    with connect(target, statement_timeout_s=TIMEOUT_S) as connection:
        try:
            if request.retire is None:
                return show_keys(connection, environment)
            return show_retirement(connection, environment, request.retire, request.from_size)
        except psycopg.Error as error:
            raise_typed(error)


def _query(request: Query, environment: Mapping[str, str]) -> dict[str, Any]:
    # A connection of its own, so that nothing a statement leaves in a session outlives it.
    with connect(targets.reports(environment)) as connection:
        result = run_query(connection, request.sql, request.params)
    return {
        "columns": result.columns,
        "rows": result.rows,
        "row_count": len(result.rows),
        "truncated": result.truncated,
    }


def _checkpoint(request: Checkpoint, settings: NotarySettings) -> dict[str, Any]:
    if request.rebuild:
        return rebuild(settings, request.seconds, request.after).as_json(settings)
    done = seal_spans(settings, request.seconds).as_json(settings)
    if done["sealed"] or done["taken_over"]:
        # An alarm counts these lines: no checkpoint for half an hour, although there was something to seal.
        logger.info("checkpoint sealed", **done["newest"], checkpoints=len(done["sealed"]))
    return done


def _archive(request: Archive, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        # Here, because pyarrow is slow to import, and where only the other actions run it is not installed.
        from .archive.run import archive
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise Misconfigured(
            "this function has no pyarrow, which writes the archive: invoke loglineos-db-deploy, whose layer has it"
            " (`loglineos archive` does)"
        ) from None
    return archive(request.older_than_days, request.seconds, environment)
