"""The ledger on one machine: an embedded PostgreSQL."""
