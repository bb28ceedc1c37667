"""Clients of app_enrollment_kernel, as these tests play them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from nacl.signing import SigningKey

from tests.stage0_loader.stage import Answer, Stage
from tests.stage0_loader.worker import invoke

ENROLLMENT: Final = UUID("00000000-0000-4000-8000-000000000008")
NO_CODE: Final = "code: it does not exist, was used or revoked, has expired, or is for another app: ask for a new one"
KEY_IN_USE: Final = "pubkey: this key is in use, or was revoked: make a new one"
NO_APP: Final = "app_id: there is no such app"
NO_DEVICE: Final = "device_id: there is no such device"


@dataclass(frozen=True)
class Device:
    """A machine with a key of its own."""

    fingerprint: str = "laptop-1"
    key: SigningKey = field(default_factory=SigningKey.generate, repr=False)

    @property
    def pubkey(self) -> str:
        """64 hex digits."""
        return bytes(self.key.verify_key).hex()

    def sign(self, message: str) -> str:
        """128 hex digits."""
        return self.key.sign(message.encode()).signature.hex()

    def enrollment(self, code: str, **changes: Any) -> dict[str, Any]:
        """The input of `enroll`."""
        given = {"app_name": "editor", "app_version": "1.0", "device_fingerprint": self.fingerprint}
        return {"action": "enroll", "code": code, **given, **self.proof(code), **changes}

    def registration(self, app_id: str, **changes: Any) -> dict[str, Any]:
        """The input of `register_device`."""
        proof = self.proof(f"{app_id}\n{self.fingerprint}")
        given = {"action": "register_device", "app_id": app_id, "device_fingerprint": self.fingerprint}
        return {**given, **proof, **changes}

    def proof(self, message: str) -> dict[str, str]:
        """Key and signature."""
        return {"pubkey": self.pubkey, "signature": self.sign(message)}


def ask(stage: Stage, given: dict[str, Any], **options: Any) -> Answer:
    """Boot the kernel; by default as the administrator of a tenant."""
    return stage.boot(ENROLLMENT, given, **{"user": "admin", **options})


def invite(stage: Stage, tenant: str, **given: Any) -> str:
    """A fresh code of the tenant."""
    code: str = ask(stage, {"action": "invite", **given}, tenant=tenant).output["code"]
    return code


def enroll(stage: Stage, tenant: str, device: Device | None = None, **changes: Any) -> dict[str, Any]:
    """A new app of the tenant, enrolled by a client that has no identity there."""
    given = (device or Device()).enrollment(invite(stage, tenant), **changes)
    registration: dict[str, Any] = ask(stage, given, user="edge:stage0", tenant="system").output
    return registration


def apps(stage: Stage, tenant: str, **options: Any) -> list[dict[str, Any]]:
    """What `list` shows."""
    found: list[dict[str, Any]] = ask(stage, {"action": "list"}, tenant=tenant, **options).output["apps"]
    return found


def at_once(stage: Stage, inputs: Sequence[dict[str, Any]], tenant: str) -> list[dict[str, Any]]:
    """Boots of the kernel at the same moment, each in a process of its own; their answers."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.stage0_loader.worker"])
    start, answers = processes.Barrier(len(inputs)), processes.Queue()
    event = {"action": "boot", "boot_function_id": str(ENROLLMENT), "user_id": "edge:stage0", "tenant_id": tenant}
    workers = [
        processes.Process(target=invoke, args=(stage.environment, {**event, "input": given}, start, answers))
        for given in inputs
    ]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(10)
    return found
