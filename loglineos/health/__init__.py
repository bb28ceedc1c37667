"""`loglineos health`: facts gathered once, then small checks, each with what to do about what it finds."""
