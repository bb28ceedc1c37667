"""Where `readonly` reads: reports on the replica, if there is one; what a promise is made of where it is appended."""

from __future__ import annotations

from collections.abc import Mapping

from ledger.connection import Target

_OF_REPORTS = ("READONLY_DATABASE_URL", "READONLY_DATABASE_HOST")


def reports(environment: Mapping[str, str]) -> Target:
    """For what is only shown, or held against what was signed. Raises Misconfigured."""
    return Target.from_environment(environment, role="readonly", prefix="READONLY_")


def ledger(environment: Mapping[str, str]) -> Target:
    """For what is signed, or shown to be signed: the database that is appended to.

    A replica may follow another one: after a restore, that which was lost. Raises Misconfigured.
    """
    own = {name: value for name, value in environment.items() if name not in _OF_REPORTS}
    return Target.from_environment(own, role="readonly", prefix="READONLY_")
