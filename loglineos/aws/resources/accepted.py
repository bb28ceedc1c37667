"""Types that are accepted without doing anything, each with the reason. The only such list there is."""

from __future__ import annotations

from .base import MODELS, Made, Model, Place, Properties

REASONS = {
    "AWS::CDK::Metadata": "counts constructs for AWS's usage statistics: it makes nothing",
    "AWS::CloudFormation::WaitConditionHandle": "a URL that only instances signal to; this stack has none",
}


class Accepted(Model):
    """Nothing is made, and nothing is lost by that."""

    def check(self, kind: str, properties: Properties) -> None:
        """Whatever its properties say, it does nothing."""

    def create(self, place: Place, properties: Properties) -> Made:
        return Made(place.name())

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        """There is nothing to delete."""


MODELS.update((kind, Accepted()) for kind in REASONS)
