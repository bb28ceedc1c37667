"""CloudWatch: alarms and dashboards. Stored and readable; no real metric ever moves an alarm here."""

from __future__ import annotations

from typing import ClassVar

from .base import Made, Model, Place, Properties, model, names


@model("AWS::CloudWatch::Alarm")
class Alarm(Model):
    properties = names(
        "AlarmName AlarmDescription ActionsEnabled OKActions AlarmActions InsufficientDataActions MetricName"
        " Namespace Statistic ExtendedStatistic Dimensions Period Unit EvaluationPeriods DatapointsToAlarm"
        " Threshold ComparisonOperator TreatMissingData EvaluateLowSampleCountPercentile Metrics"
        " ThresholdMetricId Tags"
    )
    immutable = names("AlarmName")

    def create(self, place: Place, properties: Properties) -> Made:
        name = properties.get("AlarmName") or place.name(255)
        return self.update(place, Made(name, {"Arn": place.arn("cloudwatch", f"alarm:{name}")}), properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        place.api("cloudwatch", "put_metric_alarm", **{**properties, "AlarmName": made.physical_id})
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("cloudwatch", "delete_alarms", AlarmNames=[made.physical_id])


@model("AWS::CloudWatch::Dashboard")
class Dashboard(Model):
    properties = names("DashboardName DashboardBody")
    unread: ClassVar = {"Tags": "moto keeps no tags of dashboards"}
    immutable = names("DashboardName")

    def create(self, place: Place, properties: Properties) -> Made:
        return self.update(place, Made(properties.get("DashboardName") or place.name()), properties, {})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        body = properties["DashboardBody"]
        place.api("cloudwatch", "put_dashboard", DashboardName=made.physical_id, DashboardBody=body)
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        place.api("cloudwatch", "delete_dashboards", DashboardNames=[made.physical_id])
