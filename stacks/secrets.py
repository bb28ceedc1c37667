"""Secrets that CloudFormation makes: nobody, the deployer included, has seen them."""

from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from stacks.environment import Environment
from stacks.stack import removal_of_named


def sign_in_secret(
    scope: Construct, id: str, environment: Environment, key: kms.IKey, thing: str, user: str
) -> secretsmanager.Secret:
    """`{"username": …, "password": …}`; RDS adds host and port to the master's."""
    return _secret(
        scope,
        id,
        environment,
        key,
        thing,
        f"Sign-in of {user}",
        secretsmanager.SecretStringGenerator(
            secret_string_template=f'{{"username":"{user}"}}',
            generate_string_key="password",
            password_length=32,
            exclude_punctuation=True,
        ),
    )


def key_secret(
    scope: Construct, id: str, environment: Environment, key: kms.IKey, thing: str, description: str
) -> secretsmanager.Secret:
    """32 random bytes as 64 hex digits: what Ed25519 and SecretBox take as a key."""
    hexadecimal = secretsmanager.SecretStringGenerator(
        password_length=64,
        exclude_characters="ghijklmnopqrstuvwxyz",
        exclude_uppercase=True,
        exclude_punctuation=True,
        require_each_included_type=False,
    )
    return _secret(scope, id, environment, key, thing, description, hexadecimal)


def _secret(
    scope: Construct,
    id: str,
    environment: Environment,
    key: kms.IKey,
    thing: str,
    description: str,
    generator: secretsmanager.SecretStringGenerator,
) -> secretsmanager.Secret:
    return secretsmanager.Secret(
        scope,
        id,
        secret_name=environment.resource(thing),
        description=description,
        encryption_key=key,
        generate_secret_string=generator,
        removal_policy=removal_of_named(environment),
    )
