"""What goes wrong with the local stack, in words an operator can act on."""


class LocalPostgresError(Exception):
    """The local PostgreSQL cannot do what was asked: the message says why and what to do next."""
