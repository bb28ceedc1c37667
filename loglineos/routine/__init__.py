"""`loglineos routine`: manual 9, done where a machine can, and told where a person must."""
