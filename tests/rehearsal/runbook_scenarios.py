"""What a page's commands have to show once its cause has been provoked (runbook_harm.py), and what is put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.rehearsal.kit import MEMORY, PROMPT
from tests.rehearsal.runbook_harm import (
    DATABASE,
    READONLY,
    Step,
    answer_500_over_https,
    block_a_session,
    change_a_kernel,
    concurrency,
    edit_a_memory,
    edit_it_back,
    forget_the_restored,
    former_size,
    idle_in_transaction,
    invoke_broken,
    is_ended,
    is_sealed_again,
    know_ana,
    leave_a_dead_letter,
    leave_a_transaction_open,
    lose_what_was_sealed,
    mend_the_handler,
    misconfigure,
    nothing,
    put_the_kernel_back,
    ring,
    seal,
    session_at,
    stop_the_writers,
    switch_back,
)


@dataclass(frozen=True)
class Scenario:
    """Of one page. The keys of the maps are how a block begins, or a part of it; the values of `says` are patterns.

    `instead` stands in for a block that is not run here, `before` comes before one that is; `fails` are those that
    have to exit 1.
    """

    provoke: Step = nothing
    says: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, Step] = field(default_factory=dict)
    instead: Mapping[str, Step] = field(default_factory=dict)
    fails: tuple[str, ...] = ()
    after: Step = nothing


SCENARIOS: Mapping[str, Scenario] = {
    "README": Scenario(
        ring, {"describe-alarms": r"loglineos-no-boot\t.*15 datapoints.*\tNothing.*docs/runbooks/no-boot.md"}
    ),
    "lambda-errors": Scenario(
        invoke_broken,
        {
            "--filter-pattern ERROR": "No module named 'gone'",
            "get-function-configuration": r"\tgone\.handler\t",
            "--memory-size 1024": "1024",
            "boot prompt": "Ana",
        },
        instead={"deploy.sh": mend_the_handler},
        after=mend_the_handler,
    ),
    "logged-errors": Scenario(
        misconfigure,
        {
            "--filter-pattern ERROR": "TRUSTED_ROW_KEYS",
            "status IN ('error', 'timeout')": r"run_code\s+timeout\s+timeout\s+[1-9]",
            "WHERE trace_id": "boot_event[^$]*execution",
            "queue": r"\d+ pending",
        },
        instead={"deploy.sh": nothing},
    ),
    "throttles": Scenario(
        concurrency(0),
        {"get-function-concurrency": r"\A0$", "mean_ms": r"acme\s+ana\s+[1-9]", "put-function": "120"},
        after=concurrency(10),
    ),
    "duration": Scenario(
        block_a_session,
        {
            "duration_ms DESC": "run_code",
            "state <> 'idle'": "pg_advisory_lock",
            "cardinality": r"pg_advisory_lock",
            "pg_terminate_backend": "True",
        },
        after=is_ended,
    ),
    "dead-letters": Scenario(
        leave_a_dead_letter,
        {"QUEUE=": r"\t1\n[^$]*No module named 'gone'[^$]*", "> message.json": PROMPT, "lambda invoke": "Ana"},
    ),
    "edge-5xx": Scenario(
        answer_500_over_https,
        {
            "vendedlogs": '"status": "500"',
            "loader --filter-pattern": "gone",
            "curl": '"status":"ok"',
            "revoke": "revoked",
        },
    ),
    "edge-latency": Scenario(says={"percentile_disc": "run_code_kernel", "vendedlogs": "routeKey"}),
    "database-cpu": Scenario(
        session_at("SELECT pg_sleep(600)", READONLY),
        {
            "state = 'active'": "pg_sleep",
            "pg_stat_user_tables": "universal_registry",
            "total_ms": "acme",
            "pg_cancel_backend": "True",
            "describe-db-instances": r"available\tdb\.m8g\.large",
        },
        after=former_size,
    ),
    "database-connections": Scenario(
        idle_in_transaction(),
        {
            "GROUP BY 1, 2, 3, 4": "lambda_exec",
            "idle in transaction": "left open",
            "max_connections": r"\d+",
            "pg_terminate_backend": "True",
            "--reserved-concurrent-executions 50": "50",
        },
        after=concurrency(10),
    ),
    "database-storage": Scenario(
        says={
            "[DBInstanceStatus,AllocatedStorage,MaxAllocatedStorage]": r"available\t20\t100",
            "pg_total_relation_size": "universal_registry",
            "date_trunc": "execution",
            "DBInstances[0].AllocatedStorage": "200",
        }
    ),
    "replica-lag": Scenario(
        session_at("SELECT pg_sleep(600)", READONLY),
        {"state <> 'idle'": "pg_sleep", "describe-db-instances": DATABASE, "pg_cancel_backend": "True"},
    ),
    "failed-verification": Scenario(
        change_a_kernel,
        {"security_alert": PROMPT, "curr_hash": "function", "fsck": f"edited +.*{PROMPT}", "boot prompt": "Ana"},
        instead={"deploy.sh": put_the_kernel_back},
        fails=("loglineos fsck",),
    ),
    "no-boot": Scenario(
        stop_the_writers,
        {
            "boot_event": "started",
            "list-rules": r"loglineos-observer\tDISABLED",
            "get-function-concurrency": r"\A0$",
            "DBInstanceStatus": "available",
            "boot policy_agent_kernel": "evaluated",
        },
        fails=("bash health_check.sh",),
        after=concurrency(10),
    ),
    "tampering": Scenario(
        edit_a_memory,
        {
            "create-db-snapshot": r"loglineos-evidence-\d{8}-\d{6}\tavailable",
            "fsck.json": r"\Aedited \d+ \S+ seq 0 ",
            "sha256sum": r"\A[0-9a-f]{64}  evidence/SHA256SUMS$",
            "rolbypassrls": "rdsadmin",
            "tgenabled": r"universal_registry \| ur_append_only_row \| D",
            "fsck --key": "Nothing is wrong.",
        },
        before={"loglineos fsck --key KEY --log LOG_LOCATION": edit_it_back},
        after=concurrency(10),
    ),
    "key-compromise": Scenario(seal, {"keys list": "checkpoint", "fsck": "Nothing is wrong."}),
    "no-checkpoint": Scenario(
        leave_a_transaction_open,
        {
            "describe-rule": "DISABLED",
            "checkpoint show": r"behind +[1-9]\d* spans[^$]*behind +[0-3] spans",
            "xact_start": "pg_current_xact_id",
            "enable-rule": r"sealed [1-9]\d* new spans",
            "pg_terminate_backend": "True",
            "rebuild": "checkpoints of .* hold: 0 files were missing, 0 differed",
        },
        after=is_sealed_again,
    ),
    "restore": Scenario(
        lose_what_was_sealed,
        {
            "LatestRestorableTime": r"\t7$",
            "backup verify": "whole",
            "AS ledger": r"^\d+\s",
            "list --limit 5": "Nothing is wrong.",
            "pitr": "loglineos-restored is available",
            "restore BACKUP_FOLDER": "Era 2 begins",
            "era begin": "PITR to latest",
            "lost.json": r"^[1-9]\d* findings",
            "modify-db-instance": "available",
            "put-role-policy": r"dbuser:db-\w+/lambda_exec",
            "seed": "unchanged",
        },
        before={"loglineos --env prod health": switch_back},
        instead={"deploy.sh": nothing},
        after=forget_the_restored,
    ),
    "troubleshooting": Scenario(
        know_ana,
        {
            "entity_type='\\''manifest'\\''": MEMORY,
            "KERNEL_ID": "prompt_fetch_kernel",
            "seed": "unchanged",
            "status = 'timeout'": r"run_code\s+\d",
            "describe-db-instances": "available",
            "'memory' GROUP BY": "acme",
            '"action":"list"': "found by its owner",
        },
        instead={"deploy.sh": nothing},
    ),
}
