"""The drawing in docs/architecture.md is the templates'."""

from stacks.diagram import PAGE, current, drawing, page


def test_the_drawing_is_current() -> None:
    assert page(current()) == PAGE.read_text(), "run: python -m stacks.diagram"


def test_arrows_follow_roles_and_exports() -> None:
    role = {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"Fn::ImportValue": "database:Secret"}]}}
    function = {
        "Type": "AWS::Lambda::Function",
        "Properties": {"FunctionName": "loader", "Role": {"Fn::GetAtt": ["RoleA", "Arn"]}},
    }
    secret = {"Type": "AWS::SecretsManager::Secret", "Properties": {"Name": "key"}}
    exported = {"Value": {"Ref": "SecretB"}, "Export": {"Name": "database:Secret"}}
    drawn = drawing(
        {
            "database": {"Resources": {"SecretB": secret}, "Outputs": {"O": exported}},
            "functions": {"Resources": {"RoleA": role, "LoaderC": function}},
        }
    )
    assert "  functions_LoaderC --> database_SecretB" in drawn.splitlines()
    assert '    database_SecretB["key<br/>Secret"]' in drawn.splitlines()
    assert "RoleA" not in drawn
