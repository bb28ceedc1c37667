"""The intrinsic functions of a template, resolved against what exists so far."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import ValidationError

NO_VALUE = object()  # AWS::NoValue: the property is as good as absent


class Resolved(Protocol):
    """What a template can refer to in a resource that exists."""

    @property
    def physical_id(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


@dataclass
class Scope:
    """What the names in a template mean at the moment it is applied."""

    pseudo: Mapping[str, Any]
    parameters: Mapping[str, Any]
    template: Mapping[str, Any]
    import_value: Callable[[str], str]
    zones: Callable[[str], list[str]]
    resources: Mapping[str, Resolved] = field(default_factory=dict)

    def resolve(self, value: Any) -> Any:
        """`value` without intrinsic functions; dynamic references stay as they are."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in ("Ref", "Condition") and isinstance(argument, str):
                return self.ref(argument) if name == "Ref" else self.condition(argument)
            if name.startswith("Fn::"):
                function = _FUNCTIONS.get(name)
                if function is None:
                    raise ValidationError(f"Template error: the emulator has no {name}")
                return function(self, argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def ref(self, name: str) -> Any:
        if name in self.resources:
            return self.resources[name].physical_id
        if name in self.parameters:
            return self.parameters[name]
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self.pseudo:
            return self.pseudo[name]
        raise ValidationError(f"Template format error: Unresolved resource dependencies [{name}]")

    def attribute(self, name: str, attribute: str) -> Any:
        if name not in self.resources:
            raise ValidationError(f"Template error: instance of Fn::GetAtt references undefined resource {name}")
        attributes = self.resources[name].attributes
        if attribute in attributes:
            return attributes[attribute]
        # Outputs.x of a nested object, as `Endpoint.Address`, is one key in the models; a custom
        # resource may answer with real nesting.
        found: Any = attributes
        for part in attribute.split("."):
            if not isinstance(found, Mapping) or part not in found:
                raise ValidationError(f"Requested attribute {attribute} does not exist in {name}")
            found = found[part]
        return found

    def condition(self, name: str) -> bool:
        conditions = self.template.get("Conditions", {})
        if name not in conditions:
            raise ValidationError(f"Template format error: Unresolved condition dependency {name}")
        return bool(self.resolve(conditions[name]))

    def active(self, definition: Mapping[str, Any]) -> bool:
        """Whether a resource or output is wanted at all."""
        return "Condition" not in definition or self.condition(definition["Condition"])


def text(value: Any) -> str:
    """A value inside a string, as CloudFormation writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _get_att(scope: Scope, argument: Any) -> Any:
    name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
    return scope.attribute(name, scope.resolve(attribute))


def _sub(scope: Scope, argument: Any) -> str:
    template, extra = (argument, {}) if isinstance(argument, str) else argument

    def replace(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name.startswith("!"):
            return f"${{{name[1:]}}}"
        if name in extra:
            return text(scope.resolve(extra[name]))
        owner, _, attribute = name.partition(".")
        return text(scope.attribute(owner, attribute) if attribute else scope.ref(name))

    return re.sub(r"\$\{([^}]*)\}", replace, template)


def _join(scope: Scope, argument: Any) -> str:
    separator, items = argument
    return str(separator).join(text(item) for item in scope.resolve(items))


def _split(scope: Scope, argument: Any) -> list[str]:
    separator, whole = argument
    return text(scope.resolve(whole)).split(separator)


def _select(scope: Scope, argument: Any) -> Any:
    index, items = scope.resolve(argument[0]), scope.resolve(argument[1])
    if not 0 <= int(index) < len(items):
        raise ValidationError(f"Template error: Fn::Select cannot select nonexistent value at index {index}")
    return items[int(index)]


def _find_in_map(scope: Scope, argument: Any) -> Any:
    name, first, second = (scope.resolve(item) for item in argument[:3])
    try:
        return scope.template["Mappings"][name][first][second]
    except KeyError:
        if len(argument) == 4:
            return scope.resolve(argument[3]["DefaultValue"])
        raise ValidationError(f"Template error: Unable to get mapping for {name}::{first}::{second}") from None


def _if(scope: Scope, argument: Any) -> Any:
    name, then, otherwise = argument
    return scope.resolve(then if scope.condition(name) else otherwise)


_FUNCTIONS: dict[str, Callable[[Scope, Any], Any]] = {
    "Fn::GetAtt": _get_att,
    "Fn::Sub": _sub,
    "Fn::Join": _join,
    "Fn::Split": _split,
    "Fn::Select": _select,
    "Fn::FindInMap": _find_in_map,
    "Fn::If": _if,
    "Fn::ImportValue": lambda scope, argument: scope.import_value(scope.resolve(argument)),
    "Fn::GetAZs": lambda scope, argument: scope.zones(scope.resolve(argument) or scope.pseudo["AWS::Region"]),
    "Fn::Base64": lambda scope, argument: base64.b64encode(text(scope.resolve(argument)).encode()).decode(),
    "Fn::ToJsonString": lambda scope, argument: json.dumps(scope.resolve(argument)),
    "Fn::Length": lambda scope, argument: len(scope.resolve(argument)),
    "Fn::Equals": lambda scope, argument: text(scope.resolve(argument[0])) == text(scope.resolve(argument[1])),
    "Fn::And": lambda scope, argument: all(scope.resolve(item) for item in argument),
    "Fn::Or": lambda scope, argument: any(scope.resolve(item) for item in argument),
    "Fn::Not": lambda scope, argument: not scope.resolve(argument[0]),
    "Fn::Contains": lambda scope, argument: scope.resolve(argument[1]) in scope.resolve(argument[0]),
}
