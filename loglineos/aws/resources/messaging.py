"""SQS and SNS: queues, topics, subscriptions and their policies."""

from __future__ import annotations

import json
from typing import Any

from ..api import tags, without
from .base import Made, Model, Place, Properties, model, names

_QUEUE_SETTINGS = (
    "DelaySeconds MaximumMessageSize MessageRetentionPeriod VisibilityTimeout ReceiveMessageWaitTimeSeconds"
    " KmsMasterKeyId KmsDataKeyReusePeriodSeconds SqsManagedSseEnabled RedrivePolicy RedriveAllowPolicy FifoQueue"
    " ContentBasedDeduplication"
)


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _settings(properties: Properties, *other: str) -> dict[str, str]:
    return {key: _setting(value) for key, value in without(properties, "Tags", *other).items()}


@model("AWS::SQS::Queue")
class Queue(Model):
    properties = names("QueueName Tags " + _QUEUE_SETTINGS)
    immutable = names("QueueName FifoQueue")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("QueueName") or place.name(80)
        attributes = _settings(properties, "QueueName")
        url = place.api("sqs", "create_queue", QueueName=name, Attributes=attributes, tags=tags(properties))["QueueUrl"]
        return Made(url, {"Arn": place.arn("sqs", name), "QueueName": name, "QueueUrl": url})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        attributes = _settings(properties, "QueueName", "FifoQueue")
        if attributes:
            place.api("sqs", "set_queue_attributes", QueueUrl=made.physical_id, Attributes=attributes)
        gone = [key for key in tags(old) if key not in tags(properties)]
        if gone:
            place.api("sqs", "untag_queue", QueueUrl=made.physical_id, TagKeys=gone)
        if tags(properties):
            place.api("sqs", "tag_queue", QueueUrl=made.physical_id, Tags=tags(properties))
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("sqs", "delete_queue", QueueUrl=made.physical_id)


@model("AWS::SQS::QueuePolicy")
class QueuePolicy(Model):
    properties = names("Queues PolicyDocument")

    def create(self, place: Place, properties: Properties) -> Made:
        self._set(place, properties["Queues"], json.dumps(properties["PolicyDocument"]))
        return Made(place.name())

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        self._set(place, [url for url in old["Queues"] if url not in properties["Queues"]], "")
        self._set(place, properties["Queues"], json.dumps(properties["PolicyDocument"]))
        return made

    def _set(self, place: Place, urls: list[str], policy: str) -> None:
        for url in urls:
            place.api("sqs", "set_queue_attributes", QueueUrl=url, Attributes={"Policy": policy})

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        self._set(place, properties["Queues"], "")


@model("AWS::SNS::Topic")
class Topic(Model):
    properties = names("TopicName DisplayName KmsMasterKeyId FifoTopic SignatureVersion TracingConfig Tags")
    immutable = names("TopicName FifoTopic")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("TopicName") or place.name(256)
        asked = _settings(properties, "TopicName")
        labels = [{"Key": key, "Value": value} for key, value in tags(properties).items()]
        arn = place.api("sns", "create_topic", Name=name, Attributes=asked, Tags=labels)["TopicArn"]
        return Made(arn, {"TopicArn": arn, "TopicName": name})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        arn = made.physical_id
        for name, value in _settings(properties, "TopicName", "FifoTopic").items():
            place.api("sns", "set_topic_attributes", TopicArn=arn, AttributeName=name, AttributeValue=value)
        labels = [{"Key": key, "Value": value} for key, value in tags(properties).items()]
        if labels:
            place.api("sns", "tag_resource", ResourceArn=arn, Tags=labels)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("sns", "delete_topic", TopicArn=made.physical_id)


@model("AWS::SNS::TopicPolicy")
class TopicPolicy(Model):
    properties = names("Topics PolicyDocument")

    def create(self, place: Place, properties: Properties) -> Made:
        policy = json.dumps(properties["PolicyDocument"])
        for arn in properties["Topics"]:
            place.api("sns", "set_topic_attributes", TopicArn=arn, AttributeName="Policy", AttributeValue=policy)
        return Made(place.name())

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        self.create(place, properties)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        """A topic keeps its last policy, as on AWS; mostly it goes together with it."""


@model("AWS::SNS::Subscription")
class Subscription(Model):
    properties = names("TopicArn Protocol Endpoint FilterPolicy RawMessageDelivery RedrivePolicy")
    immutable = names("TopicArn Protocol Endpoint")

    def create(self, place: Place, properties: Properties) -> Made:
        asked = _settings(properties, "TopicArn", "Protocol", "Endpoint")
        target = {key: properties[key] for key in ("TopicArn", "Protocol", "Endpoint")}
        answer = place.api("sns", "subscribe", **target, Attributes=asked, ReturnSubscriptionArn=True)
        return Made(answer["SubscriptionArn"], {"Arn": answer["SubscriptionArn"]})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        for name, value in _settings(properties, "TopicArn", "Protocol", "Endpoint").items():
            place.api(
                "sns",
                "set_subscription_attributes",
                SubscriptionArn=made.physical_id,
                AttributeName=name,
                AttributeValue=value,
            )
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("sns", "unsubscribe", SubscriptionArn=made.physical_id)
