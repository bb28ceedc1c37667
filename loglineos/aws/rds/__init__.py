"""RDS on the embedded PostgreSQL: an instance is a master login and a database of its own."""
