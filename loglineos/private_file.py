"""Files that hold secrets."""

from __future__ import annotations

import os
from pathlib import Path

import click
from nacl.signing import SigningKey

from ledger.errors import Misconfigured
from ledger.proof import parse_signing_key


def write_private(path: Path, text: str) -> Path:
    """Whole or not at all, and never readable by others, not even for a moment."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
    return path


def read_private_key(path: Path, option: str) -> SigningKey:
    """The Ed25519 key in a file of `loglineos keys new`, which nobody but its owner may read. Raises click's errors."""
    try:
        if path.stat().st_mode & 0o077:
            raise click.BadParameter(f"others can read {path}; run: chmod 600 {path}", param_hint=option)
        return parse_signing_key(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"cannot read {path}: {error}", param_hint=option) from error
    except Misconfigured as error:
        raise click.BadParameter(error.message, param_hint=option) from error
