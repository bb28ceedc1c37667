"""The manual's alarms (5.3) and those beyond it.

Each says what to do, where the manual has the alarm in the words of its third column, and links to the page of
`docs/runbooks/` for its kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_rds as rds
from aws_cdk import aws_sqs as sqs

from stacks.environment import Environment
from stacks.ledger_function import LedgerFunction

MINUTE = cdk.Duration.minutes(1)
FIVE_MINUTES = cdk.Duration.minutes(5)
GIB = 1024**3
MISSING_IS_FINE = cloudwatch.TreatMissingData.NOT_BREACHING
MISSING_IS_BAD = cloudwatch.TreatMissingData.BREACHING
Instance = rds.DatabaseInstance | rds.DatabaseInstanceReadReplica


@dataclass(frozen=True)
class Alarm:
    """`page` is the runbook's name: `lambda-errors` -> `docs/runbooks/lambda-errors.md`."""

    name: str
    page: str
    action: str
    metric: cloudwatch.IMetric
    threshold: float
    periods: int = 1
    below: bool = False
    missing: cloudwatch.TreatMissingData = MISSING_IS_FINE


def function_alarms(thing: str, function: LedgerFunction) -> Iterator[Alarm]:
    target = function.function
    errors = target.metric_errors(period=MINUTE, statistic="Sum")
    throttles = target.metric_throttles(period=FIVE_MINUTES, statistic="Sum")
    yield Alarm(f"{thing}-errors", "lambda-errors", "Investigar logs", errors, 10)
    yield Alarm(f"{thing}-throttles", "throttles", "More calls than reserved concurrency: manual 10.2", throttles, 0)
    yield dead_letter_alarm(thing, function.dead_letters)


def logged_errors_alarm(thing: str, logged: cloudwatch.IMetric, tolerated: int) -> Alarm:
    """The functions answer what went wrong instead of raising it: AWS's own count does not see that."""
    return Alarm(f"{thing}-logged-errors", "logged-errors", "Investigar logs", logged, tolerated)


def duration_alarm(thing: str, function: LedgerFunction) -> Alarm:
    duration = function.function.metric_duration(period=MINUTE, statistic="Maximum")
    return Alarm(f"{thing}-duration", "duration", "Possível timeout", duration, 25_000)


def dead_letter_alarm(thing: str, queue: sqs.Queue) -> Alarm:
    waiting = queue.metric_approximate_number_of_messages_visible(period=FIVE_MINUTES, statistic="Maximum")
    action = "Read the messages, mend the cause, send them again"
    return Alarm(f"{thing}-dead-letters", "dead-letters", action, waiting, 0)


def edge_alarms(api: apigateway.HttpApi) -> Iterator[Alarm]:
    """What callers over HTTPS meet: failures, and answers that come late."""
    failed = api.metric_server_error(period=FIVE_MINUTES, statistic="Sum")
    yield Alarm("edge-5xx", "edge-5xx", "Investigar logs: the API's access log names the request", failed, 5)
    latency = api.metric_latency(period=FIVE_MINUTES, statistic="p95")
    action = "Boots are slow: the loader's log, then the database's CPU"
    yield Alarm("edge-latency", "edge-latency", action, latency, 10_000, periods=3)


def database_alarms(environment: Environment, thing: str, instance: Instance) -> Iterator[Alarm]:
    cpu = instance.metric_cpu_utilization(period=FIVE_MINUTES, statistic="Average")
    connections = instance.metric_database_connections(period=MINUTE, statistic="Maximum")
    free = instance.metric_free_storage_space(period=FIVE_MINUTES, statistic="Minimum")
    yield Alarm(f"{thing}-cpu", "database-cpu", "Scale up", cpu, 80, periods=3)
    most = 0.9 * environment.max_connections
    yield Alarm(f"{thing}-connections", "database-connections", "Investigar leaks", connections, most)
    few = 0.2 * environment.storage_gb * GIB
    # Used > 80 % is free < 20 %. Storage that has grown is told to the environment: see docs/deploy.md.
    yield Alarm(f"{thing}-storage", "database-storage", "Planejar archiving", free, few, below=True)


def replica_lag_alarm(instance: rds.DatabaseInstanceReadReplica) -> Alarm:
    lag = instance.metric("ReplicaLag", period=MINUTE, statistic="Average")
    action = "Reports are old: look for long queries on the replica"
    return Alarm("replica-lag", "replica-lag", action, lag, 60, periods=5)


def verification_alarm(failures: cloudwatch.IMetric) -> Alarm:
    action = "A span is not what was signed: read the security_alert"
    return Alarm("failed-verification", "failed-verification", action, failures, 0)


def no_boot_alarm(boots: cloudwatch.IMetric) -> Alarm:
    action = "Nothing has booted for 15 minutes: health_check.sh"
    return Alarm("no-boot", "no-boot", action, boots, 1, periods=15, below=True, missing=MISSING_IS_BAD)


def no_checkpoint_alarm(boots: cloudwatch.IMetric, checkpoints: cloudwatch.IMetric) -> Alarm:
    """Every boot appends spans: where there were some, and for half an hour nothing was sealed, the notary is stuck.

    A ledger that idles has nothing to seal, and its metrics nothing to say. That nothing boots at all is `no-boot`.
    """
    unsealed = cloudwatch.MathExpression(
        expression="IF(FILL(boots, 0) > 0 AND FILL(checkpoints, 0) < 1, 1, 0)",
        label="Boots without a checkpoint",
        using_metrics={"boots": boots, "checkpoints": checkpoints},
        period=FIVE_MINUTES,
    )
    action = "Nothing was sealed for 30 minutes: `loglineos checkpoint` says why"
    return Alarm("no-checkpoint", "no-checkpoint", action, unsealed, 0, periods=6)
