"""The sandbox as kernels use it: for the context's tenant, by the manifest's limits, within the boot's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox import Limits, Result, Sandbox, SandboxError

from .deadline import Deadline


@dataclass(frozen=True)
class SandboxAccess:
    """`ctx.sandbox`."""

    sandbox: Sandbox
    tenant: str
    manifest: Mapping[str, Any]
    deadline: Deadline

    @property
    def limits(self) -> Limits:
        """What a function may use."""
        return Limits.of_functions(self.manifest)

    @property
    def policy_limits(self) -> Limits:
        """What a policy may use."""
        return Limits.of_policies(self.manifest)

    def run(self, code: str, entry: str, argument: Any, limits: Limits | None = None) -> Result:
        """Call `entry(argument)` of untrusted code. Raises SandboxError."""
        return self.sandbox.run(code, entry, argument, self._in_time(limits), tenant=self.tenant)

    def run_each(
        self, code: str, entry: str, arguments: Sequence[Any], limits: Limits | None = None
    ) -> list[Result | SandboxError]:
        """The same for each argument: one that fails leaves the others their results."""
        return self.sandbox.run_each(code, entry, arguments, self._in_time(limits), tenant=self.tenant)

    def _in_time(self, limits: Limits | None) -> Limits:
        limits = limits or self.limits
        left_ms = max(1, int(self.deadline.left_s() * 1000))
        return replace(limits, timeout_ms=min(limits.timeout_ms, left_ms))
