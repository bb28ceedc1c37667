"""The VPC: the database isolated, the functions private, and one way between them."""

from typing import cast

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from constructs import Construct

from stacks.environment import Environment
from stacks.logs import log_group
from stacks.stack import LedgerStack, removal_of

POSTGRES = ec2.Port.tcp(5432)
HTTPS = ec2.Port.tcp(443)


class NetworkStack(LedgerStack):
    def __init__(self, scope: Construct, environment: Environment, key: kms.IKey) -> None:
        super().__init__(scope, environment, "network", "VPC, endpoints, security groups")
        self.vpc = self._build_vpc(environment, key)
        self.database_group = self._build_group("Database", "the database: reached by the functions alone")
        self.function_group = self._build_group("Functions", "the functions: reach the database and HTTPS")
        self._build_rules()
        self._build_endpoints()
        self._keep_what_the_database_stands_in(environment)

    def _build_vpc(self, environment: Environment, key: kms.IKey) -> ec2.Vpc:
        flow_log = log_group(self, "FlowLogs", environment, key, f"/aws/vpc/{environment.resource('network')}")
        return ec2.Vpc(
            self,
            "Vpc",
            vpc_name=environment.resource("network"),
            ip_addresses=ec2.IpAddresses.cidr("10.20.0.0/16"),
            availability_zones=list(environment.availability_zones),
            nat_gateways=environment.nat_gateways,
            restrict_default_security_group=False,  # that is a Lambda of CDK's own; nothing uses the group
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="public",
                    subnet_type=ec2.SubnetType.PUBLIC,
                    cidr_mask=24,
                    map_public_ip_on_launch=False,
                ),
                ec2.SubnetConfiguration(name="functions", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=22),
                ec2.SubnetConfiguration(name="database", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24),
            ],
            flow_logs={"all": ec2.FlowLogOptions(destination=ec2.FlowLogDestination.to_cloud_watch_logs(flow_log))},
        )

    def _build_group(self, id: str, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(self, id, vpc=self.vpc, description=description, allow_all_outbound=False)

    def _keep_what_the_database_stands_in(self, environment: Environment) -> None:
        """AWS deletes no subnet, group or VPC with an instance in it: where that is kept, so are they."""
        policy = removal_of(environment)
        self.vpc.apply_removal_policy(policy)
        self.database_group.apply_removal_policy(policy)
        for subnet in self.vpc.isolated_subnets:
            cast(cdk.CfnResource, subnet.node.find_child("Subnet")).apply_removal_policy(policy)

    def _build_rules(self) -> None:
        self.database_group.add_ingress_rule(self.function_group, POSTGRES, "PostgreSQL from the functions")
        self.function_group.add_egress_rule(self.database_group, POSTGRES, "PostgreSQL")
        self.function_group.add_egress_rule(ec2.Peer.any_ipv4(), HTTPS, "AWS and LLM providers")

    def _build_endpoints(self) -> None:
        self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        group = self._build_group("Endpoints", "Secrets Manager: reached by the functions alone")
        group.add_ingress_rule(self.function_group, HTTPS, "HTTPS from the functions")
        self.vpc.add_interface_endpoint(
            "SecretsManager",
            service=ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
            security_groups=[group],
            open=False,
            subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
        )
