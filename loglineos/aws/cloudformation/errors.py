"""What can go wrong, in the words CloudFormation uses."""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class ValidationError(ServiceException):
    """The request or the template is wrong: nothing was touched."""

    code = "ValidationError"


class ChangeSetNotFound(ServiceException):
    code = "ChangeSetNotFound"


class ResourceFailed(Exception):
    """A resource could not be created, updated or deleted: the stack rolls back.

    `physical_id` is what a failed custom resource left behind, for the Delete that follows.
    """

    def __init__(self, reason: str, physical_id: str | None = None) -> None:
        super().__init__(reason)
        self.physical_id = physical_id
