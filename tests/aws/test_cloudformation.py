"""The engine by itself: templates, intrinsics, parameters and order, on models that only keep a record."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from loglineos.aws.api import Api
from loglineos.aws.cloudformation.changes import nothing, planned
from loglineos.aws.cloudformation.custom import Mailbox, strings
from loglineos.aws.cloudformation.engine import Engine
from loglineos.aws.cloudformation.errors import ResourceFailed, ValidationError
from loglineos.aws.cloudformation.intrinsics import Scope
from loglineos.aws.cloudformation.parameters import check_rules, given, resolved
from loglineos.aws.cloudformation.stack import Stack, Wanted
from loglineos.aws.cloudformation.template import dependencies, order, parse, references
from loglineos.aws.resources.base import Made, Model, Place, Properties, names


class _Closed:
    """An API that is not called."""


NO_API = cast(Api, _Closed())


def scope(template: dict[str, Any] | None = None, **parameters: Any) -> Scope:
    return Scope(
        pseudo={"AWS::Region": "us-east-2", "AWS::AccountId": "123456789012"},
        parameters=parameters,
        template=template or {},
        import_value=lambda name: f"imported {name}",
        zones=lambda region: [f"{region}a", f"{region}b"],
    )


class Thing(Model):
    """Keeps what happened. `Bad` makes it fail."""

    properties = names("Name Size Uses Bad")
    immutable = names("Name")

    def __init__(self) -> None:
        self.record: list[str] = []

    def create(self, place: Place, properties: Properties) -> Made:
        if properties.get("Bad"):
            raise ValueError("bad thing")
        name = properties.get("Name", place.logical_id)
        self.record.append(f"create {name} {properties.get('Size', '')}".strip())
        return Made(name, {"Arn": f"arn:{name}"})

    def update(self, place: Place, made: Made, properties: Properties, old: Properties) -> Made:
        if properties.get("Bad"):
            raise ValueError("bad thing")
        self.record.append(f"update {made.physical_id} {old.get('Size')}->{properties.get('Size')}")
        return made

    def delete(self, place: Place, made: Made, properties: Properties) -> None:
        if properties.get("Bad") == "stays":
            raise ValueError("will not go")
        self.record.append(f"delete {made.physical_id}")


def engine(stack: Stack, things: Thing, resources: dict[str, Any], **more: Any) -> Engine:
    place = Place(NO_API, "us-east-2", "123456789012", stack.name, stack.id, "", "")
    return Engine(stack, scope({"Resources": resources, **more}), place, {"T": things}, things)


def thing(**properties: Any) -> dict[str, Any]:
    return {"Type": "T", "Properties": properties}


@pytest.fixture
def stack() -> Stack:
    return Stack("arn:stack", "test")


@pytest.fixture
def things() -> Thing:
    return Thing()


# -- templates


def test_yaml_with_short_forms_is_the_same_as_json() -> None:
    text = """
        Resources:
          A: {Type: T, Properties: {Date: 2020-01-01, X: !GetAtt B.Arn, Y: !Sub "${B}-x"}}
          B: {Type: T, Condition: !Equals [a, a], Properties: {L: !Join ["-", [!Ref C]]}}
    """
    found = parse(text)["Resources"]
    assert found["A"]["Properties"] == {
        "Date": "2020-01-01",
        "X": {"Fn::GetAtt": ["B", "Arn"]},
        "Y": {"Fn::Sub": "${B}-x"},
    }
    assert found["B"]["Properties"]["L"] == {"Fn::Join": ["-", [{"Ref": "C"}]]}
    assert parse(json.dumps(parse(text))) == parse(text)


@pytest.mark.parametrize("text", ["{", "{}", "Resources: {}", "Resources: {A: {}}", "a: [", "just text"])
def test_a_broken_template_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="Template format error"):
        parse(text)


def test_references_are_found_wherever_they_are() -> None:
    value = {
        "DependsOn": ["A", "B"],
        "Properties": [
            {"Ref": "C"},
            {"Fn::GetAtt": "D.Arn"},
            {"Fn::Sub": ["${E.Arn} ${!Not} ${own}", {"own": {"Ref": "F"}}]},
        ],
    }
    assert {name for name in references(value) if len(name) == 1} == set("ABCDEF")


def test_order_puts_needs_first_and_refuses_a_circle() -> None:
    resources = {"A": {"DependsOn": "B"}, "B": {"P": {"Ref": "C"}}, "C": {}, "D": {"P": {"Fn::Sub": "${A}"}}}
    assert order(dependencies(resources)) == ["C", "B", "A", "D"]
    with pytest.raises(ValidationError, match=r"Circular dependency between resources: \[A, B\]"):
        order(dependencies({"A": {"DependsOn": "B"}, "B": {"P": {"Ref": "A"}}, "C": {}}))
    with pytest.raises(ValidationError, match="Circular"):
        dependencies({"A": {"P": {"Ref": "A"}}})


# -- intrinsics


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "AWS::Region"}, "us-east-2"),
        ({"Ref": "Size"}, "small"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Size"}, 1, True]]}, "a-small-1-true"),
        ({"Fn::Sub": "${Size} ${!Literal} ${AWS::Region}"}, "small ${Literal} us-east-2"),
        ({"Fn::Sub": ["${x}${Size}", {"x": {"Ref": "Size"}}]}, "smallsmall"),
        ({"Fn::Select": ["1", {"Fn::Split": [",", "a,b"]}]}, "b"),
        ({"Fn::Select": [0, {"Fn::GetAZs": ""}]}, "us-east-2a"),
        ({"Fn::If": ["Big", "yes", {"Fn::If": ["Small", "no", "never"]}]}, "no"),
        ({"a": {"Fn::If": ["Big", 1, {"Ref": "AWS::NoValue"}]}, "b": [{"Ref": "AWS::NoValue"}, 2]}, {"b": [2]}),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Size"}, "gb"]}, 1),
        ({"Fn::FindInMap": ["Sizes", "none", "gb", {"DefaultValue": 7}]}, 7),
        ({"Fn::ImportValue": {"Fn::Sub": "x-${Size}"}}, "imported x-small"),
        ({"Fn::Base64": "hello"}, "aGVsbG8="),
        ({"Fn::ToJsonString": {"a": {"Ref": "Size"}}}, '{"a": "small"}'),
        ({"Fn::Length": {"Fn::Split": [",", "a,b"]}}, 2),
        (
            {"Effect": "Allow", "Condition": {"Bool": {"x": "y"}}},
            {"Effect": "Allow", "Condition": {"Bool": {"x": "y"}}},
        ),
    ],
)
def test_intrinsics(value: Any, expected: Any) -> None:
    template = {
        "Mappings": {"Sizes": {"small": {"gb": 1}}},
        "Conditions": {
            "Small": {"Fn::Equals": [{"Ref": "Size"}, "small"]},
            "Big": {"Fn::And": [{"Fn::Not": [{"Condition": "Small"}]}, {"Fn::Or": [{"Condition": "Small"}]}]},
        },
    }
    assert scope(template, Size="small").resolve(value) == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"Ref": "Nobody"}, "Unresolved resource dependencies"),
        ({"Fn::GetAtt": ["Nobody", "Arn"]}, "undefined resource Nobody"),
        ({"Fn::Sub": "${Nobody}"}, "Unresolved resource dependencies"),
        ({"Fn::Select": [5, ["a"]]}, "nonexistent value at index 5"),
        ({"Fn::FindInMap": ["No", "such", "map"]}, "Unable to get mapping"),
        ({"Fn::Transform": {}}, "the emulator has no Fn::Transform"),
        ({"Fn::If": ["None", 1, 2]}, "Unresolved condition"),
    ],
)
def test_what_does_not_resolve_says_so(value: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        scope().resolve(value)


# -- parameters


def test_parameters_are_passed_kept_or_by_default_and_checked() -> None:
    template = {
        "Parameters": {
            "Size": {"Type": "String", "AllowedValues": ["a", "b"], "Default": "a"},
            "List": {"Type": "CommaDelimitedList"},
        }
    }
    kept = {"ParameterKey": "List", "UsePreviousValue": True}
    values = given(template, [kept], {"List": "x, y"})
    assert values == {"Size": "a", "List": "x, y"}
    assert resolved(NO_API, template, values) == {"Size": "a", "List": ["x", "y"]}
    for passed, says in (
        ([{"ParameterKey": "Size", "ParameterValue": "c"}], "AllowedValues"),
        ([{"ParameterKey": "Other", "ParameterValue": "c"}], "do not exist"),
        ([], "must have values"),
    ):
        with pytest.raises(ValidationError, match=says):
            given(template, passed, {})


def test_a_rule_of_the_template_can_refuse_it() -> None:
    rule = {"Assertions": [{"Assert": {"Fn::Contains": [["5"], {"Ref": "V"}]}, "AssertDescription": "too old"}]}
    check_rules(scope({"Rules": {"Check": rule}}, V="5"))
    with pytest.raises(ValidationError, match="too old"):
        check_rules(scope({"Rules": {"Check": rule}}, V="4"))


# -- the engine


def test_it_creates_in_order_and_gives_each_what_it_needs(stack: Stack, things: Thing) -> None:
    made = engine(stack, things, {"B": thing(Size={"Fn::GetAtt": ["A", "Arn"]}), "A": thing(Size=1)})
    made.apply()
    assert things.record == ["create A 1", "create B arn:A"]
    assert [event.status for event in stack.events] == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"] * 2


def test_what_does_not_change_is_left_alone_and_what_is_gone_is_deleted(stack: Stack, things: Thing) -> None:
    engine(stack, things, {"A": thing(Size=1), "B": thing(Size=1), "C": thing(Uses={"Ref": "B"})}).apply()
    things.record.clear()
    update = engine(stack, things, {"A": thing(Size=2)})
    update.apply()
    update.clean_up()
    assert things.record == ["update A 1->2", "delete C", "delete B"]
    assert list(stack.resources) == ["A"]


def test_a_replacement_is_made_first_and_the_old_one_deleted_last(stack: Stack, things: Thing) -> None:
    engine(stack, things, {"A": thing(Name="one"), "B": thing(Uses={"Ref": "A"})}).apply()
    things.record.clear()
    update = engine(stack, things, {"A": thing(Name="two"), "B": thing(Uses={"Ref": "A"}, Size=3)})
    update.apply()
    update.clean_up()
    assert things.record == ["create two", "update B None->3", "delete one"]


def test_a_failed_update_goes_back_to_what_was(stack: Stack, things: Thing) -> None:
    engine(stack, things, {"A": thing(Size=1), "B": thing(Name="one"), "D": thing(Size=1)}).apply()
    before = {name: (item.physical_id, item.properties) for name, item in stack.resources.items()}
    things.record.clear()
    update = engine(
        stack,
        things,
        {"A": thing(Size=2), "B": thing(Name="two"), "C": thing(), "E": {**thing(Bad=1), "DependsOn": ["A", "B", "C"]}},
    )
    with pytest.raises(ResourceFailed, match=r"failed to create: \[E\]"):
        update.apply()
    update.roll_back()
    update.clean_up()
    assert things.record == ["update A 1->2", "create two", "create C", "update A 2->1", "delete C", "delete two"]
    assert {name: (item.physical_id, item.properties) for name, item in stack.resources.items()} == before
    (failed,) = [event for event in stack.events if event.status == "CREATE_FAILED"]
    assert (failed.logical_id, failed.reason) == ("E", "bad thing")


def test_a_resource_that_cannot_go_is_named_and_keeps_what_it_needs(stack: Stack, things: Thing) -> None:
    engine(stack, things, {"A": thing(), "B": thing(Uses={"Ref": "A"}), "C": thing()}).apply()
    stack.resources["B"].properties["Bad"] = "stays"
    things.record.clear()
    with pytest.raises(ResourceFailed, match=r"failed to delete: \[B\]"):
        engine(stack, things, {}).delete_all()
    assert things.record == ["delete C"]
    assert sorted(stack.resources) == ["A", "B"]


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        ({"Type": "AWS::Nonsense::Thing"}, "does not model the resource type AWS::Nonsense::Thing"),
        (thing(Colour="red"), "does not model these properties of T: Colour"),
    ],
)
def test_what_is_not_modelled_fails(stack: Stack, things: Thing, resource: dict[str, Any], says: str) -> None:
    with pytest.raises(ResourceFailed):
        engine(stack, things, {"A": resource}).apply()
    assert says in str(stack.events[-1].reason)
    assert things.record == []


def test_policies_and_conditions(stack: Stack, things: Thing) -> None:
    conditions = {"Never": {"Fn::Equals": ["a", "b"]}}
    resources = {"A": {**thing(), "DeletionPolicy": "Retain"}, "B": {**thing(), "Condition": "Never"}}
    made = engine(stack, things, resources, Conditions=conditions, Outputs={"X": {"Value": {"Ref": "A"}}})
    made.apply()
    assert {name: output.value for name, output in made.outputs().items()} == {"X": "A"}
    made.delete_all()
    assert things.record == ["create A"]
    assert [event.status for event in stack.events][-1] == "DELETE_SKIPPED"


# -- change sets and custom resources


def test_a_change_set_tells_what_differs(stack: Stack, things: Thing) -> None:
    first = {"A": thing(Name="one"), "B": thing(Size=1), "C": thing()}
    engine(stack, things, first).apply()
    stack.wanted = Wanted("", {"Resources": first}, {})
    second = {"A": thing(Name="two"), "B": thing(Size=2), "D": thing()}
    found = planned(stack, Wanted("", {"Resources": second}, {}), {"T": things})
    shown = {
        change["ResourceChange"]["LogicalResourceId"]: (
            change["ResourceChange"]["Action"],
            change["ResourceChange"].get("Replacement"),
        )
        for change in found
    }
    assert shown == {"A": ("Modify", "True"), "B": ("Modify", "False"), "C": ("Remove", None), "D": ("Add", None)}
    assert not nothing(stack, stack.wanted, found)
    assert nothing(stack, stack.wanted, planned(stack, stack.wanted, {"T": things}))


def test_custom_resources_receive_strings() -> None:
    assert strings({"a": 1, "b": [True, {"c": "x"}], "d": 1.5}) == {"a": "1", "b": ["true", {"c": "x"}], "d": "1.5"}


def test_the_mailbox_takes_only_what_somebody_waits_for() -> None:
    mailbox = Mailbox()
    token, box = mailbox.open()
    assert not mailbox.deliver("guessed", b"x")
    assert mailbox.deliver(token, b"answer")
    assert box.get(timeout=1) == b"answer"
    mailbox.close(token)
    assert not mailbox.deliver(token, b"late")
