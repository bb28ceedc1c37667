"""Who may do what: roles and grants of the database against the release, IAM's roles against the deployed templates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import botocore.exceptions

from loglineos.backend import AwsBackend
from loglineos.health import functions
from loglineos.health.facts import Facts
from loglineos.health.finding import Finding
from loglineos.routine.task import Outcome, Round, checked

Statement = tuple[str, tuple[str, ...]]
PARTS: Final = ("functions", "deployment", "access")


def audit(round_: Round) -> Outcome:
    """Manual 9.3, "Audit de acessos (IAM, DB users)"."""
    findings = [*database_users(round_.facts), *_iam(round_)]
    roles = round_.facts.section("structure").get("catalog", {}).get("role", {})
    details = [
        f"{name}: {'signs in' if role['signs_in'] else 'no login'}, members {', '.join(role['members']) or 'none'}"
        for name, role in roles.items()
    ]
    return checked("database roles, grants and IAM roles compared with the release", findings, details)


def database_users(facts: Facts) -> Iterator[Finding]:
    """Roles, memberships, grants and row-level policies that are not the release's."""
    found = facts.section("structure")
    if not found:
        yield Finding("database users", "unknown", facts.reason("structure"), f"`{facts.command} xray`")
        return
    kinds = ("role", "grant", "row-level policy")
    differing = [functions.difference(one) for one in found["differences"] if one["kind"] in kinds]
    yield from differing or [Finding("database users", "ok", "roles, memberships and grants are the release's")]


def _iam(round_: Round) -> Iterator[Finding]:
    backend = round_.backend
    if not isinstance(backend, AwsBackend):
        yield Finding("IAM", "ok", "there is none: DATABASE_URL leads to the database itself")
        return
    try:
        found = [
            finding for part in PARTS for finding in _stack_roles(backend, f"loglineos-{part}{round_.facts.suffix}")
        ]
    except botocore.exceptions.ClientError as error:
        said = str(error.response.get("Error", {}).get("Message", error))
        yield Finding("IAM", "unknown", said, "Run it with an identity that may read IAM and CloudFormation.")
        return
    except botocore.exceptions.BotoCoreError as error:
        yield Finding("IAM", "unknown", str(error), "Sign in to AWS, and run it again.")
        return
    yield from found or [Finding("IAM", "ok", "roles have the policies of the deployed templates and no other")]


def _stack_roles(backend: AwsBackend, stack: str) -> Iterator[Finding]:
    """The roles that the stack's template makes, each compared with what IAM has."""
    cloudformation, iam = backend.client("cloudformation"), backend.client("iam")
    template = cloudformation.get_template(StackName=stack)["TemplateBody"]
    resources = template["Resources"] if isinstance(template, dict) else _parsed(template)["Resources"]
    for logical, resource in resources.items():
        if resource["Type"] != "AWS::IAM::Role":
            continue
        physical = cloudformation.describe_stack_resource(StackName=stack, LogicalResourceId=logical)
        name = physical["StackResourceDetail"]["PhysicalResourceId"]
        yield from _compared(iam, name, resource.get("Properties", {}))


def _compared(iam: Any, name: str, properties: dict[str, Any]) -> Iterator[Finding]:
    expected = {
        policy["PolicyName"]: _statements(policy["PolicyDocument"]) for policy in properties.get("Policies", [])
    }
    present = iam.list_role_policies(RoleName=name)["PolicyNames"]
    for policy in present:
        found = _statements(iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"])
        if policy not in expected:
            yield _beyond(
                name, f"the inline policy {policy}", f"delete-role-policy --role-name {name} --policy-name {policy}"
            )
        elif found - expected[policy]:
            more = sorted({action for _, actions in found - expected[policy] for action in actions})
            yield _beyond(
                name, f"{', '.join(more)} in {policy}", f"get-role-policy --role-name {name} --policy-name {policy}"
            )
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    if len(attached) > len(properties.get("ManagedPolicyArns", [])):
        arns = ", ".join(one["PolicyArn"] for one in attached)
        yield _beyond(name, f"attached policies: {arns}", f"detach-role-policy --role-name {name} --policy-arn ARN")


def _beyond(role: str, what: str, command: str) -> Finding:
    return Finding("IAM", "failure", f"{role} has more than the template gives it: {what}",
                   f"`aws iam {command}`; then ask who gave it (CloudTrail), and deploy again.")  # fmt: skip


def _statements(document: dict[str, Any]) -> set[Statement]:
    """Effect and actions: resources hold references in a template, and ARNs in IAM."""
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    return {(one["Effect"], tuple(sorted(_listed(one.get("Action", []))))) for one in statements}


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _parsed(template: str) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads(template)
    return found
