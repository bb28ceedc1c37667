"""One screen: what the ledger does, and what AWS says of the functions and the database."""

from collections.abc import Iterable, Mapping

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stacks.database import DatabaseStack
from stacks.environment import Environment
from stacks.ledger_function import LedgerFunction

MINUTE = cdk.Duration.minutes(1)


def build_dashboard(
    scope: Construct,
    environment: Environment,
    functions: Mapping[str, LedgerFunction],
    database: DatabaseStack,
    api: apigateway.HttpApi,
    ledger_metrics: Iterable[cloudwatch.IMetric],
) -> cloudwatch.Dashboard:
    dashboard = cloudwatch.Dashboard(
        scope,
        "Dashboard",
        dashboard_name=environment.resource("overview"),
        default_interval=cdk.Duration.hours(3),
    )
    dashboard.add_widgets(_graph("Boots and failed verifications", ledger_metrics), _kernels(functions))
    targets = [function.function for function in functions.values()]
    dashboard.add_widgets(
        _graph("Invocations", [target.metric_invocations(period=MINUTE) for target in targets]),
        _graph("Errors", [target.metric_errors(period=MINUTE) for target in targets]),
        _graph("Duration p95", [target.metric_duration(period=MINUTE, statistic="p95") for target in targets]),
    )
    dashboard.add_widgets(
        _graph("HTTPS requests", [api.metric_count(period=MINUTE, statistic="Sum")]),
        _graph(
            "HTTPS 4xx and 5xx",
            [metric(period=MINUTE, statistic="Sum") for metric in (api.metric_client_error, api.metric_server_error)],
        ),
        _graph("HTTPS latency p95", [api.metric_latency(period=MINUTE, statistic="p95")]),
    )
    instances = [one for one in (database.primary_instance, database.replica_instance) if one]
    dashboard.add_widgets(
        _graph("Database CPU", [one.metric_cpu_utilization(period=MINUTE) for one in instances]),
        _graph("Connections", [one.metric_database_connections(period=MINUTE) for one in instances]),
        _graph("Free storage", [one.metric_free_storage_space(period=MINUTE) for one in instances]),
    )
    return dashboard


def _graph(title: str, metrics: Iterable[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8, height=6)


def _kernels(functions: Mapping[str, LedgerFunction]) -> cloudwatch.LogQueryWidget:
    return cloudwatch.LogQueryWidget(
        title="Kernels mais executados",
        log_group_names=[functions["stage0-loader"].logs.log_group_name],
        query_lines=[
            "fields @message",
            "filter @message like /boot_function_id/",
            'parse @message \'"boot_function_id":"*"\' as kernel_id',
            "stats count() by kernel_id",
        ],
        view=cloudwatch.LogQueryVisualizationType.TABLE,
        width=16,
        height=6,
    )
