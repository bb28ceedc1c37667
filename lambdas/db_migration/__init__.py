"""Migrates, seeds and queries the ledger."""
