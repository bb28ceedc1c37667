"""One model for each resource type. What is not here, or in `accepted`, fails the deployment."""

from . import (
    accepted,
    analytics,
    database,
    events,
    functions,
    gateway,
    identity,
    logs,
    messaging,
    monitoring,
    network,
    security,
    security_groups,
    storage,
)
from .base import MODELS

__all__ = [
    "MODELS",
    "accepted",
    "analytics",
    "database",
    "events",
    "functions",
    "gateway",
    "identity",
    "logs",
    "messaging",
    "monitoring",
    "network",
    "security",
    "security_groups",
    "storage",
]
