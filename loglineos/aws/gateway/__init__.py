"""API Gateway's HTTP APIs, served on loopback: what is deployed is what answers."""
