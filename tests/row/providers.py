"""Providers of these tests: rows that lead to a local server, and provider_exec_kernel to ask them with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from tests.stage0_loader.provider_server import ProviderServer, Step
from tests.stage0_loader.stage import Answer, Stage, row

PROVIDER_KERNEL: Final = UUID("00000000-0000-4000-8000-000000000005")
SECRET: Final = "loglineos-testing"
_numbers = itertools.count(0x95000)


@dataclass(frozen=True)
class Providers:
    """A loader that has the key of `server`, and ways to ask it."""

    stage: Stage
    server: ProviderServer

    def add(self, kind: str = "openai", *, seq: int = 1, span: UUID | None = None, **metadata: Any) -> UUID:
        """Seed a provider; None leaves a field of its metadata out."""
        span = span or new_provider_id()
        path, secret = ("/v1", SECRET) if kind == "openai" else ("", None)
        given = {"type": kind, "base_url": self.server.url + path, "model": f"{kind}-model", "secret": secret}
        given = {name: value for name, value in {**given, **metadata}.items() if value is not None}
        self.stage.seed(row(span, "provider", seq, name=f"{kind}_{span.hex[-5:]}", metadata=given))
        return span

    def ask(self, *script: Step, kind: str = "openai", provider: UUID | None = None, **given: Any) -> Answer:
        """Boot the kernel, on a provider of its own unless one is given, while the server does what `script` says."""
        options = {name: given.pop(name) for name in ("user", "tenant", "remaining_ms", "loader") if name in given}
        if not {"provider_id", "name"} & set(given):
            given["provider_id"] = str(provider or self.add(kind))
        if not {"messages", "prompt"} & set(given):
            given["prompt"] = "Hello"
        self.server.script[:], self.server.asked[:] = script, []
        return self.stage.boot(PROVIDER_KERNEL, given, **options)

    def kept(self, answer: Answer) -> Any:
        """The provider_execution that the boot left."""
        return self.stage.one(trace_id=answer.trace_id, entity_type="provider_execution")


def new_provider_id() -> UUID:
    """An id of the seeder's that no other test uses."""
    return UUID(f"00000000-0000-4000-8000-{next(_numbers):012x}")
