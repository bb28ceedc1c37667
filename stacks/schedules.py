"""What boots the observer, the worker and the policy agent, what seals and what archives: rules of EventBridge."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.environment import Environment
from stacks.ledger_function import dead_letter_queue
from stacks.stack import LedgerStack

OBSERVER = "00000000-0000-4000-8000-000000000002"
REQUEST_WORKER = "00000000-0000-4000-8000-000000000003"
POLICY_AGENT = "00000000-0000-4000-8000-000000000004"
DAILY_ROLLUP_POLICY = "00000000-0000-4000-8000-000000000403"

EVERY_MINUTE = events.Schedule.rate(cdk.Duration.minutes(1))
EVERY_FIVE_MINUTES = events.Schedule.rate(cdk.Duration.minutes(5))
EVERY_NIGHT = events.Schedule.cron(hour="0", minute="10")  # UTC, when the day that is rolled up is over
# After the night's backup. A run takes 12 minutes at most: what it leaves, the next one takes up.
EVERY_MONTH = events.Schedule.cron(day="1", hour="6-11", minute="0/15")
STALE_AFTER = {
    EVERY_MINUTE.expression_string: cdk.Duration.minutes(1),
    EVERY_FIVE_MINUTES.expression_string: cdk.Duration.minutes(5),
}


class SchedulesStack(LedgerStack):
    def __init__(
        self, scope: Construct, environment: Environment, loader: lambda_.IFunction, deploy: lambda_.IFunction
    ) -> None:
        super().__init__(scope, environment, "schedules", "what runs without being called")
        self.environment_settings = environment
        self.undelivered = dead_letter_queue(self, "Undelivered", environment.resource("schedules-dead-letters"))
        self._rule("Observer", EVERY_MINUTE, loader, boot(OBSERVER))
        self._rule("RequestWorker", EVERY_MINUTE, loader, boot(REQUEST_WORKER))
        self._rule("PolicyAgent", EVERY_MINUTE, loader, boot(POLICY_AGENT))
        self._rule("DailyRollup", EVERY_NIGHT, loader, boot(POLICY_AGENT, policy_id=DAILY_ROLLUP_POLICY))
        self._rule("Checkpoint", EVERY_FIVE_MINUTES, deploy, {"action": "checkpoint"})
        self._rule("MonthlyArchive", EVERY_MONTH, deploy, {"action": "archive"})

    def _rule(self, id: str, schedule: events.Schedule, target: lambda_.IFunction, event: dict[str, Any]) -> None:
        """What comes every few minutes is stale when it comes again; a day's or a month's is worth a day of tries."""
        stale_after = STALE_AFTER.get(schedule.expression_string)
        events.Rule(
            self,
            id,
            rule_name=self.environment_settings.resource(_dashed(id)),
            schedule=schedule,
            targets=[
                targets.LambdaFunction(
                    target,
                    event=events.RuleTargetInput.from_object(event),
                    retry_attempts=2 if stale_after else 10,
                    max_event_age=stale_after or cdk.Duration.hours(24),
                    dead_letter_queue=self.undelivered,
                )
            ],
        )


def boot(kernel: str, **input: str) -> dict[str, Any]:
    return {
        "action": "boot",
        "boot_function_id": kernel,
        "input": input,
        "user_id": "edge:stage0",
        "tenant_id": "system",
    }


def _dashed(id: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in id).lstrip("-")
