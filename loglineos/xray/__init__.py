"""`loglineos xray`: the ledger seen through: terminal, JSON, one self-contained page."""
