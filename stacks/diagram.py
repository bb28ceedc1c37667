"""The drawing of docs/architecture.md, made from the templates of prod: `python -m stacks.diagram`."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stacks.bundling import ROOT
from stacks.synthesis import Template, in_process, synthesize, templates

PAGE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
# What is worth a box, and the property that names it.
SHOWN = {
    "AWS::Lambda::Function": "FunctionName",
    "AWS::RDS::DBInstance": "DBInstanceIdentifier",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::Events::Rule": "Name",
    "AWS::Athena::WorkGroup": "Name",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::ApiGatewayV2::Api": "Name",
    "AWS::ApiGatewayV2::Integration": "",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::SecretsManager::RotationSchedule": "",
    "Custom::LedgerDeployment": "",
    "AWS::EC2::NatGateway": "",
    "AWS::EC2::VPCEndpoint": "",
}
# What is not drawn, but leads on to what is: a function reaches what its role may reach.
THROUGH = {"AWS::IAM::Role", "AWS::Glue::Table"}
Place = tuple[str, str]  # the stack's part, the logical id


def exports(found: Mapping[str, Template]) -> dict[str, Place]:
    """Which resource each exported value is of."""
    places = {}
    for part, template in found.items():
        for output in template.get("Outputs", {}).values():
            if "Export" in output:
                target = next(references(output["Value"], part, {}), None)
                if target:
                    places[output["Export"]["Name"]] = target
    return places


def references(value: Any, part: str, exported: Mapping[str, Place]) -> Iterator[Place]:
    if isinstance(value, dict):
        if "Ref" in value:
            yield part, value["Ref"]
        elif "Fn::GetAtt" in value:
            yield part, value["Fn::GetAtt"][0]
        elif "Fn::ImportValue" in value and value["Fn::ImportValue"] in exported:
            yield exported[value["Fn::ImportValue"]]
        else:
            for inner in value.values():
                yield from references(inner, part, exported)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner, part, exported)


def drawing(found: Mapping[str, Template]) -> str:
    exported = exports(found)
    resources = {(part, name): one for part, template in found.items() for name, one in template["Resources"].items()}

    def reached(place: Place, seen: frozenset[Place]) -> Iterator[Place]:
        for target in references(resources[place].get("Properties", {}), place[0], exported):
            if target in seen or target not in resources:
                continue
            kind = resources[target]["Type"]
            if kind in SHOWN:
                yield target
            elif kind in THROUGH:
                yield from reached(target, seen | {target})

    shown = [place for place, one in resources.items() if one["Type"] in SHOWN]
    lines = ["flowchart LR"]
    for part in found:
        boxes = [f'    {_id(place)}["{_label(place, resources[place])}"]' for place in shown if place[0] == part]
        if boxes:
            lines += [f"  subgraph {part}", *sorted(boxes), "  end"]
    edges = {f"  {_id(place)} --> {_id(target)}" for place in shown for target in reached(place, frozenset({place}))}
    return "\n".join([*lines, *sorted(edges)]) + "\n"


def _id(place: Place) -> str:
    return f"{place[0]}_{place[1]}"


def _label(place: Place, resource: dict[str, Any]) -> str:
    """The resource's name, or its logical id without CDK's hash, and what it is."""
    name = resource.get("Properties", {}).get(SHOWN[resource["Type"]])
    readable = name if isinstance(name, str) else re.sub(r"[0-9A-F]{8}$", "", place[1])
    return f"{readable}<br/>{resource['Type'].split('::')[-1]}"


def current() -> str:
    with tempfile.TemporaryDirectory() as folder:
        app, environment = in_process("prod", Path(folder))
        return drawing(templates(environment, synthesize(app)))


def page(drawn: str) -> str:
    return BLOCK.sub(lambda _: drawn, PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(current()), encoding="utf-8")
