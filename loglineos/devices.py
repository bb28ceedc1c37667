"""As which device this machine is enrolled where. Keys are in the system's key store, or else in a 0600 file."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
import keyring
from keyring.errors import KeyringError

from ledger.errors import LedgerError
from loglineos.client import Device, new_key
from loglineos.private_file import write_private

SERVICE: Final = "loglineos"


class DevicesUnreadable(LedgerError):
    """What is kept of this machine's devices cannot be used; the message says what to do."""

    code = "devices_unreadable"


class Devices:
    """By URL, in `devices.json` of the user's configuration folder."""

    def __init__(self, directory: Path | None = None) -> None:
        self.path = (directory or Path(click.get_app_dir("loglineos"))) / "devices.json"

    def get(self, url: str) -> Device | None:
        """The device enrolled there. Raises DevicesUnreadable if its key is gone."""
        kept = self._read().get(url)
        if kept is None or "device_id" not in kept:
            return None
        return Device(**{**kept, "key": self._key(url, kept)})

    def key_for(self, url: str) -> str:
        """The key to enroll there with. It is kept before it is used: a lost answer can be asked for again."""
        kept = self._read().get(url)
        if kept is not None:
            return self._key(url, kept)
        key = new_key()
        self._write({**self._read(), url: self._stored(url, key)})
        return key

    def keep(self, url: str, device: Device) -> None:
        """Remember it; its key is that of `key_for`."""
        known = self._read()
        described = {name: value for name, value in asdict(device).items() if name != "key"}
        self._write({**known, url: {**known.get(url, {}), **described}})

    def forget(self, url: str) -> dict[str, Any]:
        """Delete key and entry; what it was, without the key."""
        known = self._read()
        kept = known.pop(url, None)
        if kept is None:
            return {}
        if "key" not in kept:
            with contextlib.suppress(KeyringError):  # it is gone already
                keyring.delete_password(SERVICE, url)
        self._write(known)
        return {name: value for name, value in kept.items() if name != "key"}

    def where(self, url: str) -> str:
        """Where the key is, for people."""
        return str(self.path) if "key" in self._read().get(url, {}) else "the system's key store"

    def _stored(self, url: str, key: str) -> dict[str, str]:
        """The entry of a new key: with the key itself only where no key store works."""
        try:
            keyring.set_password(SERVICE, url, key)
            if keyring.get_password(SERVICE, url) == key:
                return {}
        except KeyringError:
            pass  # a machine without one, or nobody there to unlock it
        return {"key": key}

    def _key(self, url: str, kept: dict[str, Any]) -> str:
        try:
            key = kept.get("key") or keyring.get_password(SERVICE, url)
        except KeyringError as error:
            raise DevicesUnreadable(
                f"the system's key store cannot be read: {error}. Unlock it and try again"
            ) from error
        if not key:
            raise DevicesUnreadable(
                f"the key for {url} is gone from the system's key store: `loglineos --url {url} logout`, then login"
            )
        return str(key)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            known: dict[str, dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DevicesUnreadable(f"{self.path} cannot be read: {error}") from error
        return known

    def _write(self, known: dict[str, dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.path, json.dumps(known, indent=2) + "\n")
