"""RDS's API on moto, with a real PostgreSQL behind the endpoint and no property dropped.

Honest limits: a read replica is the same server behind an endpoint which makes sessions read-only; a
restored instance exists in the API only, and its endpoint leads nowhere.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from moto.core.exceptions import ServiceException
from moto.rds.models import DBInstance, RDSBackend

from ..kept.spared import spared
from .databases import Databases
from .replica import ReadOnlyDoor

# What moto takes and forgets: the request's name (as moto spells it) and the answer's.
_KEPT = {
    "enable_performance_insights": "performance_insights_enabled",
    "performance_insights_kms_key_id": "performance_insights_kms_key_id",
    "performance_insights_retention_period": "performance_insights_retention_period",
    "enable_iam_database_authentication": "enable_iam_database_authentication",
    "copy_tags_to_snapshot": "copy_tags_to_snapshot",
    "auto_minor_version_upgrade": "auto_minor_version_upgrade",
    "enable_cloudwatch_logs_exports": "enabled_cloudwatch_logs_exports",
    "network_type": "network_type",
    "engine_lifecycle_support": "engine_lifecycle_support",
    "database_insights_mode": "database_insights_mode",
    "dedicated_log_volume": "dedicated_log_volume",
    "ca_certificate_identifier": "ca_certificate_identifier",
}
_LOST = ".rds.invalid"  # a name that never resolves (RFC 2606)


class InvalidParameterCombination(ServiceException):
    code = "InvalidParameterCombination"


class Instances:
    """Connects moto's DB instances to their databases."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._doors: dict[str, ReadOnlyDoor] = {}
        self._restoring = threading.local()

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Whatever is created meanwhile on this thread gets no database."""
        self._restoring.on = True
        try:
            yield
        finally:
            self._restoring.on = False

    def created(self, instance: Any, given: Mapping[str, Any]) -> None:
        if getattr(self._restoring, "on", False) or instance.engine != "postgres":
            instance.loglineos_endpoint = (f"{instance.db_instance_identifier}{_LOST}", 5432)
        else:
            instance.loglineos_endpoint = (self._databases.host, self._databases.port)
            self._make_database(instance)
        instance.dbi_resource_id = _resource_id()
        _keep(instance, given)

    def check(self, backend: RDSBackend, given: Mapping[str, Any]) -> None:
        """One server, so one namespace of databases and roles for all instances."""
        if getattr(self._restoring, "on", False):
            return
        for other in backend.databases.values():
            with_database = getattr(other, "loglineos_database", None) is not None
            name, same_name = given.get("db_instance_identifier"), other.db_name == given.get("db_name")
            if with_database and (same_name or other.master_username == given.get("master_username")):
                if name == other.db_instance_identifier:
                    return  # moto refuses it, in AWS's words
                raise InvalidParameterCombination(
                    f"The emulator has one PostgreSQL for all instances: {name} needs another database name"
                    f" and master user than {other.db_instance_identifier}"
                )

    def _make_database(self, instance: Any) -> None:
        instance.loglineos_database = instance.db_name or ""
        password = instance._master_user_password
        existed = self._databases.create(instance.master_username, password, instance.db_name)
        instance.loglineos_taken_over = existed

    def replicated(self, instance: Any, given: Mapping[str, Any]) -> None:
        door = ReadOnlyDoor(self._databases.host, self._databases.port)
        self._doors[instance.db_instance_identifier] = door
        instance.loglineos_endpoint, instance.loglineos_database = (door.host, door.port), None
        instance.dbi_resource_id = _resource_id()
        instance.enabled_cloudwatch_logs_exports = []
        instance.deletion_protection = bool(given.get("deletion_protection"))
        instance.multi_az = bool(given.get("multi_az"))
        instance.tags = given.get("tags") or []
        _keep(instance, given)

    def modified(self, instance: Any, given: Mapping[str, Any]) -> None:
        if given.get("master_user_password") and getattr(instance, "loglineos_database", None) is not None:
            self._databases.change_password(instance.master_username, given["master_user_password"])
        _keep(instance, given)

    def deleted(self, instance: Any) -> None:
        door = self._doors.pop(instance.db_instance_identifier, None)
        if door is not None:
            door.close()
        taken_over = getattr(instance, "loglineos_taken_over", False)
        if taken_over and spared(instance.db_instance_identifier):
            return
        if getattr(instance, "loglineos_database", None):
            self._databases.drop(instance.loglineos_database)


def _keep(instance: Any, given: Mapping[str, Any]) -> None:
    for asked, answered in _KEPT.items():
        if given.get(asked) is not None:
            setattr(instance, answered, given[asked])


def _resource_id() -> str:
    return f"db-{uuid.uuid4().hex[:26].upper()}"


def install(instances: Instances) -> None:
    """Put `instances` behind moto's RDS."""
    DBInstance.address = property(lambda self: _endpoint(self)[0])  # type: ignore[assignment,method-assign]
    DBInstance.endpoint = property(  # type: ignore[assignment,method-assign]
        lambda self: {
            "Address": _endpoint(self)[0],
            "Port": _endpoint(self)[1],
            "HostedZoneId": "Z2R2ITUGPM61AM",
        }
    )
    _wrap("create_db_instance", instances.created, instances.check)
    _wrap("create_db_instance_read_replica", instances.replicated)
    _wrap("modify_db_instance", instances.modified)
    _wrap("delete_db_instance", lambda instance, _: instances.deleted(instance))
    for name in ("restore_db_instance_to_point_in_time", "restore_db_instance_from_db_snapshot"):
        _restore(name, instances)


def _endpoint(instance: Any) -> tuple[str, int]:
    found: tuple[str, int] = getattr(
        instance, "loglineos_endpoint", (f"{instance.db_instance_identifier}{_LOST}", 5432)
    )
    return found


Given = Mapping[str, Any]


def _wrap(
    name: str, after: Callable[[Any, Given], None], before: Callable[[RDSBackend, Given], None] | None = None
) -> None:
    """Have `after` see what an action of moto's made, and `before` what is asked of it."""
    original = getattr(RDSBackend, name)

    def wrapped(self: RDSBackend, *arguments: Any, **named: Any) -> Any:
        given = dict(arguments[-1]) if arguments and isinstance(arguments[-1], Mapping) else {}
        if before is not None:
            before(self, given)
        made = original(self, *arguments, **named)
        after(made, given)
        return made

    setattr(RDSBackend, name, wrapped)


def _restore(name: str, instances: Instances) -> None:
    original = getattr(RDSBackend, name)

    def wrapped(self: RDSBackend, *arguments: Any, **named: Any) -> Any:
        with instances.restoring():
            return original(self, *arguments, **named)

    setattr(RDSBackend, name, wrapped)
