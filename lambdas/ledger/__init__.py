"""The ledger: spans, their proof, and the two ways to reach them (append and read)."""
