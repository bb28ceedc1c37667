"""The loader's signing key: a person may replace the secret at any time, and a warm process has to notice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType

from aws_lambda_powertools import Logger
from nacl.signing import SigningKey

from ledger.errors import Misconfigured
from ledger.proof import parse_signing_key
from ledger.secret import KEEP_S, read_secret

logger = Logger(service="loglineos-stage0-loader")


class SigningKeys:
    """The key of `SIGNING_KEY`, read again every five minutes.

    Where it cannot be read again, the one that was read before goes on signing: its spans are as valid as they were.

    Raises:
        Misconfigured: at first, if it cannot be read or is no key.
    """

    def __init__(self, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._environment = environment
        self._read_at = time.monotonic()
        self._key = self._read()

    def current(self) -> SigningKey | None:
        """The key, not older than five minutes if its secret can be read."""
        now = time.monotonic()
        if now - self._read_at >= KEEP_S:
            self._read_at = now  # whatever comes of it: an outage must not cost every boot its time-out
            try:
                self._key = self._read()
            except Misconfigured as error:
                logger.error("ERROR the signing key cannot be read again; the one before signs on", error=error.message)
        return self._key

    def _read(self) -> SigningKey | None:
        private = read_secret("SIGNING_KEY", self._environment)
        return parse_signing_key(private, "SIGNING_KEY_HEX") if private else None
