"""The bounds that the system itself sets to a worker, whatever becomes of the interpreter in it."""
