"""`cdk deploy -c env=prod '*'`: one environment, all its stacks."""

import sys
from datetime import UTC, datetime

import aws_cdk as cdk

from stacks.errors import SettingsError
from stacks.synthesis import build_app, synthesize


def main() -> None:
    # Template validation is cfn-lint's, in the tests: here it would be most of a synthesis's time.
    app = cdk.App(builtin_cloud_formation_validation=False)
    # A new id on each synthesis makes every plain `cdk deploy` migrate and seed; `-c deployment_id=` pins it.
    build_app(app, new_deployment_id=datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ"))
    synthesize(app)


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(f"loglineos: {error}")
    except RuntimeError as error:  # what went wrong on jsii's other side: the zips' builder is called from there
        sentence = str(error).partition("@jsii/kernel.RuntimeError: ")[2]
        if not sentence:
            raise
        sys.exit(f"loglineos: {sentence}")
