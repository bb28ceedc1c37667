"""The action `xray`: which sections, read by whom, put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ledger.connection import Target
from ledger.errors import LedgerUnavailable

from .. import targets
from . import activity, catalog, count, integrity, ledger, performance, primary, size
from .reader import Reader, Section, section

Read = Callable[[Reader], Section]
NEWEST: Final = 2_000
BUDGET_S: Final = 30.0  # the function has 60: a section that is begun in time may take its statements' timeouts

# As `readonly`, on the replica where there is one.
_REPORTS: Final[dict[str, Read]] = {
    "rows": ledger.rows,
    "spans": count.spans,
    "activity": activity.activity,
    "alerts": activity.alerts,
    "executions": activity.executions,
    "memories": activity.memories,
    "apps": activity.apps,
}
# As the login that migrates, on the primary.
_PRIMARY: Final[dict[str, Read]] = {
    "migrations": primary.migrations,
    "queue": primary.queue,
    "policies": primary.policies,
    "size": size.size,
    "performance": performance.performance,
}
SECTIONS: Final = ("pulse", "structure", "integrity", *_REPORTS, *_PRIMARY)
HEALTH: Final = ("pulse", "structure", "alerts", "migrations", "queue", "policies", "size", "performance")


def xray(environment: Mapping[str, str], sections: Sequence[str], verify: int) -> dict[str, Any]:
    """The sections asked for. One that PostgreSQL does not answer is `{"unknown": reason}`; so are those of a
    server that cannot be reached, if the other can.

    Raises:
        LedgerUnavailable: neither primary nor replica can be reached.
    """
    origin = environment.get("LOG_ORIGIN", "")
    login = _Server(Target.from_environment(environment, role=None))
    reports = _Server(targets.reports(environment))
    try:
        if login.reader is None and reports.reader is None:
            raise LedgerUnavailable(reports.problem)
        who = login.name()
        special: dict[str, Read] = {
            "pulse": lambda reader: ledger.pulse(reader, origin),
            "structure": lambda reader: catalog.structure(reader, who),
            "integrity": lambda reader: integrity.integrity(reader, verify),
        }
        answer: dict[str, Any] = {"login": who}
        deadline = time.monotonic() + BUDGET_S
        for name in sections:
            if time.monotonic() > deadline:
                answer[name] = {"unknown": "the sections before it took all the time: ask for it alone"}
                continue
            server = login if name in _PRIMARY else reports
            answer[name] = server.read({**_REPORTS, **_PRIMARY, **special}[name])
        if "size" in sections and reports.read(_recovering).get("replica"):
            answer["replica_size"] = reports.read(size.size)  # an index may be used there alone
        return {"xray": answer}
    finally:
        login.close()
        reports.close()


def _recovering(reader: Reader) -> Section:
    return reader.row("SELECT pg_is_in_recovery() AS replica")


class _Server:
    """One of the two, which may be away."""

    def __init__(self, target: Target) -> None:
        self.problem = ""
        self.reader: Reader | None = None
        try:
            self.reader = Reader(target)
        except LedgerUnavailable as error:
            self.problem = error.reason or "it cannot be reached"

    def read(self, what: Read) -> Section:
        reader = self.reader
        if reader is None:
            return {"unknown": f"the server cannot be reached: {self.problem}"}
        return section(lambda: what(reader))

    def name(self) -> str:
        """The login that migrates; its name is not known while the primary is away."""
        answer = self.read(lambda reader: reader.row("SELECT session_user::text AS login"))
        return str(answer.get("login", "postgres"))

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()
