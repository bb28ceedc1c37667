"""The rehearsal: a whole `cdk deploy` of the local environment to the emulator."""

from __future__ import annotations

import json
import platform
import sys

from ledger.errors import LedgerError
from loglineos.aws import Endpoint
from loglineos.aws.deploy import CdkMissing, bootstrap, cdk
from loglineos.backend import AwsBackend
from loglineos.local.stack import LocalStack
from loglineos.output import Output

REASON_LINES = 12


class DeploymentFailed(LedgerError):
    """`cdk` failed; the end of what it said is in the message."""

    code = "deployment_failed"


def deploy_locally(stack: LocalStack, output: Output) -> AwsBackend:
    """Start PostgreSQL and the emulator and deploy to it. What is there already is updated.

    Raises:
        DeploymentFailed: with the reason; the previous state is intact.
    """
    with output.step("Starting PostgreSQL"):
        server = stack.postgres.start()
    with output.step("Starting the AWS emulator"):
        endpoint = stack.emulator.start()
    backend = AwsBackend("local", endpoint.environment)
    if not _bootstrapped(backend):
        with output.step("Bootstrapping the CDK"):
            _run(stack, endpoint)
    with output.step("Deploying the local environment (migrates and seeds)"):
        _run(stack, endpoint, "deploy", *_context(), "--all", "--concurrency", "2")
    secret = backend.client("secretsmanager").get_secret_value(SecretId="loglineos-database-readonly")
    stack.write_client_settings(endpoint, server, json.loads(secret["SecretString"])["password"])
    return backend


def _context() -> list[str]:
    """The emulator runs functions on this machine: their bundle has to be made for it."""
    settings = {
        "env": "local",
        "architecture": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "sign_executions": "true",
    }
    return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]


def _bootstrapped(backend: AwsBackend) -> bool:
    from botocore.exceptions import ClientError  # slow to import

    try:
        backend.client("cloudformation").describe_stacks(StackName="CDKToolkit")
    except ClientError:
        return False
    return True


def _run(stack: LocalStack, endpoint: Endpoint, *arguments: str) -> None:
    """`cdk` with these arguments (none: bootstrap), what it says in a log."""
    try:
        if arguments:
            done = cdk(*arguments, env=endpoint.environment, capture=True)
        else:
            done = bootstrap(endpoint.environment, endpoint.account, endpoint.region, capture=True)
    except CdkMissing as error:
        raise DeploymentFailed(f"{error} (`make setup` does)") from error
    said = done.stdout + done.stderr
    log = stack.log_file("cdk")
    with log.open("a", encoding="utf-8") as file:
        file.write(said)
    if done.returncode != 0:
        lines = [line for line in said.splitlines() if line.strip()]
        failed = [line for line in lines if "FAILED" in line or "❌" in line] or lines
        raise DeploymentFailed("\n".join(["cdk failed:", *failed[-REASON_LINES:], f"All it said is in {log}"]))
