"""AWS on one machine, as far as this project's stacks need it: an unmodified CDK deploys to it.

What it can do and what it cannot is told in `docs/emulator.md`.
"""

from .emulator import Emulator, EmulatorError, Endpoint, write_environment

__all__ = ["Emulator", "EmulatorError", "Endpoint", "write_environment"]
