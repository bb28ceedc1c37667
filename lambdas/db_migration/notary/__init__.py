"""Seals the ledger's spans into a transparency log: tiles and signed checkpoints in storage, each checkpoint a span.

What is where: docs/checkpoints.md. The order of writing is what makes it safe to die at any moment: tiles, then the
checkpoint's span (the commit point), then the signed checkpoint in storage.
"""
