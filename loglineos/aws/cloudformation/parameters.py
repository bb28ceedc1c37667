"""A template's parameters: defaults, types, those of SSM, and its rules."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import ClientError

from ..api import Api
from .errors import ValidationError
from .intrinsics import Scope
from .template import Template


def given(template: Template, passed: list[dict[str, Any]], before: dict[str, str]) -> dict[str, str]:
    """Every parameter's value as passed, kept from before, or by default; still unresolved."""
    declared = template.get("Parameters", {})
    values: dict[str, str] = {}
    by_name = {item["ParameterKey"]: item for item in passed}
    unknown = by_name.keys() - declared.keys()
    if unknown:
        raise ValidationError(f"Parameters: [{', '.join(sorted(unknown))}] do not exist in the template")
    for name, declaration in declared.items():
        item = by_name.get(name, {})
        if item.get("UsePreviousValue") and name in before:
            values[name] = before[name]
        elif "ParameterValue" in item:
            values[name] = item["ParameterValue"]
        elif "Default" in declaration:
            values[name] = str(declaration["Default"])
        else:
            raise ValidationError(f"Parameters: [{name}] must have values")
        _check(name, declaration, values[name])
    return values


def _check(name: str, declaration: dict[str, Any], value: str) -> None:
    allowed = declaration.get("AllowedValues")
    if allowed and value not in [str(item) for item in allowed]:
        raise ValidationError(f"Parameter '{name}' must be one of AllowedValues")
    pattern = declaration.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, value):
        raise ValidationError(f"Parameter '{name}' must match pattern {pattern}")


def resolved(api: Api, template: Template, values: dict[str, str]) -> dict[str, Any]:
    """What Ref answers for each parameter: typed, and read from SSM where it names a parameter there."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        kind = template["Parameters"][name].get("Type", "String")
        if kind.startswith("AWS::SSM::Parameter::Value<"):
            try:
                value = api("ssm", "get_parameter", Name=value)["Parameter"]["Value"]
            except ClientError as error:
                raise ValidationError(f"Unable to fetch parameters [{value}] from parameter store") from error
            kind = kind[len("AWS::SSM::Parameter::Value<") : -1]
        elif kind == "Number" and not re.fullmatch(r"-?\d+(\.\d+)?", value):
            raise ValidationError(f"Parameter '{name}' must be a number")
        listed = kind.startswith("List<") or kind == "CommaDelimitedList"
        found[name] = [item.strip() for item in value.split(",")] if listed else value
    return found


def check_rules(scope: Scope) -> None:
    """The template's Rules, as the CDK uses them to insist on a bootstrap version."""
    for name, rule in scope.template.get("Rules", {}).items():
        if "RuleCondition" in rule and not scope.resolve(rule["RuleCondition"]):
            continue
        for assertion in rule["Assertions"]:
            if not scope.resolve(assertion["Assert"]):
                raise ValidationError(
                    f"Template validation error: Rule {name}: {assertion.get('AssertDescription', 'failed')}"
                )
