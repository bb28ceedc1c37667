"""Kernels that a kernel runs: the request worker runs run_code_kernel as each request's owner."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from ledger.read import latest

from .context import Context
from .kernel import Kernels, failure_of
from .trust import Governance, NotAllowed, NotFound, Trusted, require_trusted


@dataclass(frozen=True)
class KernelCalls:
    """The calls of one boot, by the manifest that governs it. A kernel is read and verified once."""

    kernels: Kernels
    governance: Governance
    verified: dict[UUID, Trusted] = field(default_factory=dict)

    def __call__(self, context: Context, name: str) -> Any:
        """Run the kernel of that name with this context; see `Context.run_kernel`."""
        kernel = self._kernel(context, name)
        may_act_as = kernel.id in self.governance.manifest.may_act_as
        try:
            return self.kernels.call(kernel, replace(context, kernel_id=kernel.id, may_act_as=may_act_as))
        except Exception as problem:
            raise failure_of(problem, context) from problem

    def _kernel(self, context: Context, name: str) -> Trusted:
        manifest = self.governance.manifest
        kernel_id = manifest.kernels.get(name)
        if kernel_id is None or kernel_id not in manifest.allowed_boot_ids:
            raise NotAllowed(kernel_id or name)
        if kernel_id not in self.verified:
            found = latest(context.ledger.database, context.ledger.identity, [kernel_id]).get(kernel_id)
            if found is None or found.is_deleted:
                raise NotFound(kernel_id)
            self.verified[kernel_id] = require_trusted(found, "function", context.settings, self.governance.keys)
        return self.verified[kernel_id]
