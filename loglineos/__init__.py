"""The operator's command line and the local stack."""

__version__ = "0.1.0"
