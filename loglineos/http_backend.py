"""The loader over HTTPS, as the device that this machine was enrolled as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ledger.errors import LedgerUnavailable
from loglineos.arguments import DEFAULT_TENANT, DEFAULT_USER
from loglineos.client import ApiError, Client, Device, Unauthenticated, Unavailable
from loglineos.errors import CommandFailed

Event = Mapping[str, Any]


@dataclass(frozen=True)
class HttpBackend:
    """The same events as a direct invocation's; who acts is what the device's key proves."""

    url: str
    device: Device

    def load(self, event: Event) -> dict[str, Any]:
        """See Backend."""
        self._require_own_identity(event)
        calls = {"boot": self._boot, "append": self._append, "timeline": self._timeline, "health": self._health}
        try:
            return calls[event["action"]](event)
        except Unavailable as error:
            raise LedgerUnavailable(str(error)) from error
        except Unauthenticated as error:
            raise CommandFailed(
                f"{self.url} does not know this device any more (it was revoked, or the clock here is wrong): "
                f"`loglineos --url {self.url} logout`, then login with a new code",
                answer=error.problem,
            ) from error
        except ApiError as error:
            raise CommandFailed(str(error), answer=error.problem) from error

    def migration(self, event: Event) -> dict[str, Any]:
        """Never over HTTPS: see Backend. Raises CommandFailed."""
        raise CommandFailed(
            f"{event['action']} is an operator's command and not for {self.url}: "
            "give --env and your AWS settings; or, for the local stack, neither --url nor LOGLINEOS_URL"
        )

    def deployment(self, event: Event) -> dict[str, Any]:
        """The same."""
        return self.migration(event)

    def identity(self, user: str, tenant: str) -> tuple[str, str]:
        """Who acts: the device's user and tenant, whatever is given by default. Raises CommandFailed."""
        self._require_own_identity({"user_id": user, "tenant_id": tenant})
        return self.device.user_id, self.device.tenant_id

    def _require_own_identity(self, event: Event) -> None:
        """Who says another one would be ignored, or believe it."""
        own = {"user_id": (DEFAULT_USER, self.device.user_id), "tenant_id": (DEFAULT_TENANT, self.device.tenant_id)}
        if any(event[name] not in allowed for name, allowed in own.items() if name in event) or "trace_id" in event:
            raise CommandFailed(
                "--user and --tenant (LOGLINEOS_USER and LOGLINEOS_TENANT) and --trace-id are not taken over HTTPS: "
                "the device's key says that you are "
                f"{self.device.user_id} of {self.device.tenant_id}"
            )

    @cached_property
    def _client(self) -> Client:
        return Client(self.url, self.device)

    def _boot(self, event: Event) -> dict[str, Any]:
        return self._client.boot(event["boot_function_id"], event["input"], request_id=event.get("request_id"))

    def _append(self, event: Event) -> dict[str, Any]:
        return self._client.append(*(event["spans"] if "spans" in event else [event["span"]]))

    def _timeline(self, event: Event) -> dict[str, Any]:
        given = {name: event[name] for name in ("limit", "entity_type", "before", "latest", "after") if name in event}
        return self._client.timeline(**given) if "after" in event else self._client.spans(**given)

    def _health(self, _: Event) -> dict[str, Any]:
        """What a device may know: the ledger answers, and the kernels that its app may boot."""
        self._client.health()
        manifest = self._client.manifest()
        kernels = [{"id": kernel, "name": name, "seq": None, "proof": None}
                   for name, kernel in manifest["kernels"].items()]  # fmt: skip
        shown = {"id": manifest["manifest_id"], "seq": manifest["seq"], "proof": manifest["proof"]}
        return {"ok": True, "database": f"reachable over {self.url}", "manifest": shown, "kernels": kernels}
