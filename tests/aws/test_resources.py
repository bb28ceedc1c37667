"""The resource models, against what AWS publishes of each type."""

from __future__ import annotations

import string
from typing import Any

import boto3
import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from loglineos.aws.api import Misfit, fit
from loglineos.aws.resources import MODELS
from loglineos.aws.resources.accepted import REASONS
from loglineos.aws.resources.base import Model, NotModelled
from loglineos.aws.resources.security import password
from loglineos.aws.resources.security_groups import permission
from loglineos.aws.resources.storage import _lifecycle_rule

MODELLED = sorted(MODELS.keys() - REASONS.keys())


def published(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-2", kind).schema
    return found


@pytest.mark.parametrize("kind", MODELLED)
def test_a_model_names_real_properties_and_replaces_where_aws_does(kind: str) -> None:
    model, schema = MODELS[kind], published(kind)
    known = model.properties | model.unread.keys()
    assert known <= schema["properties"].keys()
    assert not model.properties & model.unread.keys()
    assert model.immutable <= model.properties
    paths = [path.split("/")[2:] for path in schema.get("createOnlyProperties", [])]
    for name in (path[0] for path in paths if len(path) == 1 and path[0] in model.properties):
        assert model.replaces({name}), f"{kind} has to be replaced when {name} changes"


@pytest.mark.parametrize("kind", MODELLED)
def test_a_model_creates_and_deletes(kind: str) -> None:
    own = type(MODELS[kind])
    assert own.create is not Model.create
    assert own.delete is not Model.delete


def test_everything_accepted_without_effect_has_its_reason() -> None:
    for kind, reason in REASONS.items():
        assert len(reason) > 20, kind
    for kind in MODELLED:
        for name, reason in MODELS[kind].unread.items():
            assert len(reason) > 10, (kind, name)


def test_an_unknown_property_is_named() -> None:
    with pytest.raises(NotModelled, match=r"AWS::SQS::Queue: Colour, Smell"):
        MODELS["AWS::SQS::Queue"].check("AWS::SQS::Queue", {"QueueName": "x", "Smell": 1, "Colour": 2})


@pytest.fixture(scope="module")
def shape() -> Any:
    client = boto3.client("rds", region_name="us-east-2", aws_access_key_id="x", aws_secret_access_key="x")
    return client.meta.service_model.operation_model("CreateDBInstance").input_shape


def test_values_are_made_to_fit_the_api(shape: Any) -> None:
    given = {"AllocatedStorage": "20", "MultiAZ": "true", "EngineVersion": 18, "VpcSecurityGroupIds": ["sg-1"]}
    assert fit(shape, given) == {
        "AllocatedStorage": 20,
        "MultiAZ": True,
        "EngineVersion": "18",
        "VpcSecurityGroupIds": ["sg-1"],
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [({"Colour": 1}, "unknown properties Colour"), ({"AllocatedStorage": "lots"}, "AllocatedStorage: 'lots' is not")],
)
def test_what_does_not_fit_is_an_error(shape: Any, given: dict[str, Any], says: str) -> None:
    with pytest.raises(Misfit, match=says):
        fit(shape, given, "create_db_instance")


def test_generated_passwords_follow_their_recipe() -> None:
    hexadecimal = {
        "PasswordLength": 64,
        "ExcludeCharacters": "ghijklmnopqrstuvwxyz",
        "ExcludeUppercase": True,
        "ExcludePunctuation": "true",
        "RequireEachIncludedType": False,
    }
    made = {password(hexadecimal) for _ in range(20)}
    assert len(made) == 20
    assert all(len(item) == 64 and set(item) <= set("0123456789abcdef") for item in made)
    for _ in range(20):
        default = password({})
        assert len(default) == 32
        for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation):
            assert set(default) & set(kind)


def test_rules_of_security_groups_keep_their_descriptions() -> None:
    rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "SourceSecurityGroupId": "sg-1", "Description": "x"}
    assert permission(rule) == {
        "IpProtocol": "tcp",
        "FromPort": 5432,
        "ToPort": 5432,
        "UserIdGroupPairs": [{"GroupId": "sg-1", "Description": "x"}],
    }


def test_a_lifecycle_rule_is_translated_whole_or_refused() -> None:
    rule = {
        "Id": "old",
        "Status": "Enabled",
        "Prefix": "spans/",
        "ExpirationInDays": 365,
        "Transitions": [{"StorageClass": "GLACIER_IR", "TransitionInDays": 90}],
        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
    }
    assert _lifecycle_rule(rule) == {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": "spans/"},
        "Expiration": {"Days": 365},
        "Transitions": [{"StorageClass": "GLACIER_IR", "Days": 90}],
        "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
    }
    with pytest.raises(ValueError, match="TagFilters"):
        _lifecycle_rule({**rule, "TagFilters": []})
