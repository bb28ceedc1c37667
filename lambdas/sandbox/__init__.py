"""Where untrusted functions and policies run: in Monty, in a jailed process of their tenant's, within limits."""

from .errors import SandboxError
from .limits import Limits
from .sandbox import Result, Sandbox

__all__ = ["Limits", "Result", "Sandbox", "SandboxError"]
