"""Reading a template: its text, what refers to what, and the order which follows from that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from .errors import ValidationError

Template = dict[str, Any]

_PLACEHOLDER = re.compile(r"\$\{(?!!)\s*([^}\s]+)\s*\}")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms (`!Ref x`), and without YAML's dates."""


def _short_form(loader: yaml.Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))


def parse(text: str) -> Template:
    """The template in `text`, JSON or YAML; a ValidationError says what is wrong with it."""
    try:
        template = json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, _Loader)  # noqa: S506
    except (ValueError, yaml.YAMLError) as error:
        raise ValidationError(f"Template format error: {error}") from error
    if not isinstance(template, dict) or not template.get("Resources"):
        raise ValidationError("Template format error: At least one Resources member must be defined.")
    for name, resource in template["Resources"].items():
        if not isinstance(resource, dict) or "Type" not in resource:
            raise ValidationError(f"Template format error: [/Resources/{name}] has no Type")
    return template


def references(value: Any) -> Iterator[str]:
    """The logical names that `value` refers to: Ref, GetAtt, Sub, DependsOn, Condition."""
    if isinstance(value, list):
        for item in value:
            yield from references(item)
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key == "Ref":
            yield item
        elif key == "Fn::GetAtt":
            yield item[0] if isinstance(item, list) else item.split(".")[0]
        elif key == "DependsOn":
            yield from [item] if isinstance(item, str) else item
        else:
            if key == "Fn::Sub":
                text = item if isinstance(item, str) else item[0]
                yield from (name.split(".")[0] for name in _PLACEHOLDER.findall(text))
            yield from references(item)


def imports(value: Any) -> Iterator[Any]:
    """The arguments of every Fn::ImportValue in `value`."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and "Fn::ImportValue" in value:
        yield value["Fn::ImportValue"]
    for item in items:
        yield from imports(item)


def dependencies(resources: Mapping[str, Any]) -> dict[str, set[str]]:
    """For each resource, the resources that have to be there before it."""
    found = {name: set(references(definition)) & set(resources) for name, definition in resources.items()}
    for name, needs in found.items():
        if name in needs:
            raise ValidationError(f"Circular dependency between resources: [{name}]")
    return found


def order(needs: Mapping[str, set[str]]) -> list[str]:
    """Names such that each comes after what it needs; a circle is a ValidationError."""
    done: list[str] = []
    waiting = {name: set(others) for name, others in needs.items()}
    while waiting:
        ready = [name for name, others in waiting.items() if not others & waiting.keys()]
        if not ready:
            raise ValidationError(f"Circular dependency between resources: [{', '.join(sorted(waiting))}]")
        done += ready
        for name in ready:
            del waiting[name]
    return done
