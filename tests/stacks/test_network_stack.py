"""The network: who can reach whom, and nobody else (manual 8.1)."""

from typing import Any


def test_two_zones_with_three_kinds_of_subnet(each: Any, properties: Any) -> None:
    environment, templates = each
    subnets = properties(templates["network"], "AWS::EC2::Subnet").values()
    assert {one["AvailabilityZone"] for one in subnets} == set(environment.availability_zones)
    assert len(subnets) == 3 * len(environment.availability_zones)
    assert all(one["MapPublicIpOnLaunch"] is False for one in subnets)


def test_nat_gateways(each: Any, properties: Any) -> None:
    environment, templates = each
    assert len(properties(templates["network"], "AWS::EC2::NatGateway")) == environment.nat_gateways


def test_isolated_subnets_have_no_way_out(each: Any, properties: Any) -> None:
    _, templates = each
    network = templates["network"]
    routes = properties(network, "AWS::EC2::Route").values()
    assert all("database" not in str(route["RouteTableId"]) for route in routes)
    assert {str(route["RouteTableId"]["Ref"]).split("Subnet")[0] for route in routes} == {
        "Vpcpublic",
        "Vpcfunctions",
    }


def test_the_only_way_to_postgres_is_from_the_functions(each: Any, properties: Any) -> None:
    _, templates = each
    network = templates["network"]
    groups = properties(network, "AWS::EC2::SecurityGroup")
    assert all("SecurityGroupIngress" not in group for group in groups.values())
    ingress = properties(network, "AWS::EC2::SecurityGroupIngress").values()
    found = {(one["FromPort"], one["GroupId"]["Fn::GetAtt"][0], one["SourceSecurityGroupId"]["Fn::GetAtt"][0])
             for one in ingress}  # fmt: skip
    database, functions, endpoints = (
        next(name for name in groups if name.startswith(start)) for start in ("Database", "Functions", "Endpoints")
    )
    assert found == {(5432, database, functions), (443, endpoints, functions)}
    others = [part for part, template in templates.items() if part != "network"
              and (properties(template, "AWS::EC2::SecurityGroup")
                   or properties(template, "AWS::EC2::SecurityGroupIngress"))]  # fmt: skip
    assert others == []


def test_functions_reach_the_database_and_https_only(each: Any, properties: Any) -> None:
    _, templates = each
    groups = properties(templates["network"], "AWS::EC2::SecurityGroup")
    functions = next(group for name, group in groups.items() if name.startswith("Functions"))
    (inline,) = functions["SecurityGroupEgress"]
    assert (inline["CidrIp"], inline["FromPort"], inline["ToPort"]) == ("0.0.0.0/0", 443, 443)
    (to_database,) = properties(templates["network"], "AWS::EC2::SecurityGroupEgress").values()
    assert (to_database["FromPort"], to_database["ToPort"]) == (5432, 5432)


def test_endpoints(each: Any, properties: Any) -> None:
    _, templates = each
    endpoints = properties(templates["network"], "AWS::EC2::VPCEndpoint").values()
    by_kind = {one["VpcEndpointType"]: one for one in endpoints}
    assert set(by_kind) == {"Gateway", "Interface"}
    assert "s3" in str(by_kind["Gateway"]["ServiceName"])
    assert "secretsmanager" in by_kind["Interface"]["ServiceName"]
    assert by_kind["Interface"]["PrivateDnsEnabled"] is True
    assert "Endpoints" in str(by_kind["Interface"]["SecurityGroupIds"])


def test_flow_logs_of_all_traffic(each: Any, properties: Any) -> None:
    _, templates = each
    (flow_log,) = properties(templates["network"], "AWS::EC2::FlowLog").values()
    assert (flow_log["TrafficType"], flow_log["ResourceType"]) == ("ALL", "VPC")
