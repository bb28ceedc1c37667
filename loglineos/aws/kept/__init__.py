"""What outlives the emulator's process beside PostgreSQL: the objects of S3 buckets, the values of secrets."""
