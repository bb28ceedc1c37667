#!/usr/bin/env bash
# The manual's health check (section 8.3).
exec "$(dirname "${BASH_SOURCE[0]}")/.venv/bin/loglineos" health "$@"
