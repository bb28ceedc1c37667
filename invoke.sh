#!/usr/bin/env bash
# The manual's `bash invoke.sh migrate` and `bash invoke.sh seed` (section 4.1).
exec "$(dirname "${BASH_SOURCE[0]}")/.venv/bin/loglineos" "$@"
