"""What can be wrong with a log or a proof of it, as errors that say which part."""

from __future__ import annotations

from ledger.errors import LedgerError


class ProofInvalid(LedgerError):
    """A note, checkpoint or proof is malformed, is signed by nobody that is trusted, or proves something else."""

    code = "proof_invalid"


class LogDamaged(LedgerError):
    """Stored tiles or entries do not lead to the root that a checkpoint signed, or are missing."""

    code = "log_damaged"
