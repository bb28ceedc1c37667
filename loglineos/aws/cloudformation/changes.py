"""What a change set would change, as CloudFormation tells before it does anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..resources.base import Model
from .stack import Stack, Wanted
from .template import references


def planned(stack: Stack, wanted: Wanted, models: Mapping[str, Model]) -> list[dict[str, Any]]:
    """One entry for each resource that differs: Add, Modify or Remove.

    As on AWS it is told from the templates and parameters alone, so a Modify may turn out to be none.
    """
    before = stack.wanted.template["Resources"] if stack.wanted else {}
    after = wanted.template["Resources"]
    given = stack.wanted.given if stack.wanted else {}
    moved = {name for name in wanted.given if wanted.given[name] != given.get(name)}
    found = []
    for name in {**after, **before}:
        if name not in before or name not in stack.resources:
            if name in after:
                found.append(_change("Add", name, after[name]))
        elif name not in after:
            found.append(_change("Remove", name, before[name], stack.resources[name].physical_id))
        elif _body(before[name]) != _body(after[name]) or moved & set(references(after[name])):
            found.append(_modify(stack, name, before[name], after[name], models))
    return found


def _body(definition: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in definition.items() if key != "Metadata"}


def _change(action: str, name: str, definition: dict[str, Any], physical_id: str | None = None) -> dict[str, Any]:
    change = {"Action": action, "LogicalResourceId": name, "ResourceType": definition["Type"]}
    if physical_id:
        change["PhysicalResourceId"] = physical_id
    return {"Type": "Resource", "ResourceChange": {**change, "Scope": [], "Details": []}}


def _modify(
    stack: Stack, name: str, old: dict[str, Any], new: dict[str, Any], models: Mapping[str, Model]
) -> dict[str, Any]:
    change = _change("Modify", name, new, stack.resources[name].physical_id)
    first, second = old.get("Properties", {}), new.get("Properties", {})
    changed = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))
    model = models.get(new["Type"])
    details = []
    for key in changed:
        always = model is not None and model.replaces({key})
        target = {
            "Attribute": "Properties",
            "Name": key,
            "RequiresRecreation": "Always" if always else "Never",
        }
        details.append({"Target": target, "Evaluation": "Static", "ChangeSource": "DirectModification"})
    replaced = model is not None and bool(changed) and model.replaces(set(changed))
    change["ResourceChange"] |= {
        "Scope": ["Properties"] if changed else ["Metadata"],
        "Details": details,
        "Replacement": "True" if replaced else "False",
    }
    return change


def nothing(stack: Stack, wanted: Wanted, changes: list[dict[str, Any]]) -> bool:
    """Whether the stack already is as wanted: AWS fails such a change set."""
    old = stack.wanted
    return (
        old is not None
        and not changes
        and old.template.get("Outputs") == wanted.template.get("Outputs")
        and old.tags == wanted.tags
    )
