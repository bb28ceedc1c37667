"""`cdk deploy -c env=prod '*'`: one environment, all its stacks."""

import sys
from datetime import UTC, datetime

import aws_cdk as cdk

from stacks.environment import SETTINGS, load_environment
from stacks.errors import SettingsError
from stacks.system import build_system


def main() -> None:
    app = cdk.App()
    context = app.node.try_get_context
    given = {name: value for name in SETTINGS if (value := context(name)) is not None}
    zones = {region: tuple(names) for region, names in (context("zones") or {}).items()}
    environment = load_environment(context("env") or "", given, zones)
    # A new id on each synthesis makes every plain `cdk deploy` migrate and seed; `-c deployment_id=` pins it.
    deployment_id = context("deployment_id") or datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    build_system(app, environment, deployment_id)
    app.synth()


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"loglineos: {error}")
