"""Who is told what: alarms to a topic, a dashboard, the manual's saved queries (5.1)."""

from collections.abc import Iterable
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks import alarms
from stacks.dashboard import build_dashboard
from stacks.database import DatabaseStack
from stacks.environment import Environment
from stacks.ledger_function import LedgerFunction
from stacks.stack import LedgerStack

QUERIES = {
    "erros-recentes": (
        "fields @timestamp, @message\n"
        "| filter @message like /ERROR/ or @message like /Error:/\n"
        "| sort @timestamp desc\n"
        "| limit 50"
    ),
    "execucoes-lentas": "fields @timestamp, @duration\n| filter @duration > 1000\n| sort @duration desc",
    "kernels-mais-executados": (
        "fields @message\n"
        "| filter @message like /boot_function_id/\n"
        '| parse @message \'"boot_function_id":"*"\' as kernel_id\n'
        "| stats count() by kernel_id"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Watched:
    database: DatabaseStack
    loader: LedgerFunction
    migration: LedgerFunction
    deploy: LedgerFunction
    undelivered: sqs.Queue
    api: apigateway.HttpApi

    @property
    def functions(self) -> dict[str, LedgerFunction]:
        return {"stage0-loader": self.loader, "db-migration": self.migration, "db-deploy": self.deploy}


class MonitoringStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment, watched: Watched, key: kms.IKey) -> None:
        super().__init__(scope, environment, "monitoring", "alarms, dashboard, saved queries")
        self.environment_settings, self._watched = environment, watched
        self.topic = self._build_topic(key)
        self.boots = self._count_lines("Boots", watched.loader, '{ $.boot_function_id = "*" }')
        self.checkpoints = self._count_lines("Checkpoints", watched.deploy, '{ $.message = "checkpoint sealed" }')
        self.failures = self._count_lines("FailedVerifications", watched.loader, '"security_alert"')
        for alarm in self._alarms():
            self._build_alarm(alarm)
        self._save_queries()
        ledger_metrics = (self.boots, self.failures)
        build_dashboard(self, environment, watched.functions, watched.database, watched.api, ledger_metrics)
        cdk.CfnOutput(self, "AlarmTopicArn", value=self.topic.topic_arn)

    def _build_topic(self, key: kms.IKey) -> sns.Topic:
        name = self.environment_settings.resource("alarms")
        topic = sns.Topic(self, "Alarms", topic_name=name, master_key=key, enforce_ssl=True)
        # Refusing what is not TLS replaces the policy by which an account's alarms may publish to its topics.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )
        if address := self.environment_settings.alarm_email:
            topic.add_subscription(subscriptions.EmailSubscription(address))
        elif self.environment_settings.protect_data:
            cdk.Annotations.of(self).add_warning_v2(
                "loglineos:alarmEmail", "alarms tell nobody: give -c alarm_email=<address>"
            )
        return topic

    def _count_lines(self, name: str, function: LedgerFunction, pattern: str) -> cloudwatch.Metric:
        """Of the function's log."""
        metric_filter = logs.MetricFilter(
            self,
            name,
            log_group=function.logs,
            filter_pattern=logs.FilterPattern.literal(pattern),
            metric_namespace=self.environment_settings.resource("ledger"),
            metric_name=name,
            metric_value="1",
        )
        return metric_filter.metric(period=cdk.Duration.minutes(1), statistic="Sum")

    def _alarms(self) -> Iterable[alarms.Alarm]:
        environment, watched = self.environment_settings, self._watched
        for thing, function in watched.functions.items():
            yield from alarms.function_alarms(thing, function)
            name = f"{_joined(thing)}ErrorLines"
            logged = self._count_lines(name, function, '{ $.level = "ERROR" }')
            yield alarms.logged_errors_alarm(thing, logged, tolerated=0 if function is watched.deploy else 10)
        yield alarms.duration_alarm("stage0-loader", watched.loader)
        yield alarms.dead_letter_alarm("schedules", watched.undelivered)
        yield from alarms.edge_alarms(watched.api)
        yield from alarms.database_alarms(environment, "database", watched.database.primary_instance)
        if replica := watched.database.replica_instance:
            yield from alarms.database_alarms(environment, "replica", replica)
            yield alarms.replica_lag_alarm(replica)
        yield alarms.verification_alarm(self.failures)
        yield alarms.no_boot_alarm(self.boots)
        yield alarms.no_checkpoint_alarm(self.boots, self.checkpoints)

    def _build_alarm(self, alarm: alarms.Alarm) -> None:
        comparison = cloudwatch.ComparisonOperator
        built = cloudwatch.Alarm(
            self,
            _joined(alarm.name),
            alarm_name=self.environment_settings.resource(alarm.name),
            alarm_description=f"{alarm.action}. {self.environment_settings.runbook(alarm.page)}",
            metric=alarm.metric,
            threshold=alarm.threshold,
            evaluation_periods=alarm.periods,
            comparison_operator=comparison.LESS_THAN_THRESHOLD if alarm.below else comparison.GREATER_THAN_THRESHOLD,
            treat_missing_data=alarm.missing,
        )
        built.add_alarm_action(actions.SnsAction(self.topic))
        built.add_ok_action(actions.SnsAction(self.topic))

    def _save_queries(self) -> None:
        groups = [self._watched.loader.logs, self._watched.migration.logs]
        for name, text in QUERIES.items():
            logs.CfnQueryDefinition(
                self,
                _joined(name),
                name=f"{self.environment_settings.resource('ledger')}/{name}",
                query_string=text,
                log_group_names=[group.log_group_name for group in groups],
            )


def _joined(name: str) -> str:
    return "".join(word.title() for word in name.split("-"))
