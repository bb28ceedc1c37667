"""A transparency log in C2SP's formats: Merkle tree, tiles, signed checkpoints, proofs. Knows nothing of spans."""
