"""What an operator wants to know of a ledger, read with bounded statements: the facts of `health` and `xray`."""
