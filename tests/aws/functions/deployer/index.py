"""The custom resource's function: keeps a record of its events in a table, and fails when it is told to."""

import json
import os
import urllib.request
from typing import Any

import boto3
import psycopg


def handler(event: dict[str, Any], context: Any) -> None:
    properties = event["ResourceProperties"]
    status, reason, data = "SUCCESS", "", {}
    try:
        data = record(event, properties)
    except Exception as error:
        status, reason = "FAILED", f"{type(error).__name__}: {error}"
    if properties.get("Silent") == "true" and event["RequestType"] != "Delete":
        return
    answer = {
        "Status": status,
        "Reason": reason,
        "PhysicalResourceId": properties.get("Identity", "ledger"),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": data,
    }
    request = urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=10).close()


def record(event: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    secret = boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["DATABASE_SECRET"])
    login = json.loads(secret["SecretString"])
    with psycopg.connect(
        host=login["host"],
        port=login["port"],
        user=login["username"],
        password=login["password"],
        dbname=login["dbname"],
        autocommit=True,
    ) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS calls (at serial PRIMARY KEY, event jsonb)")
        kept = {key: value for key, value in event.items() if key != "ResponseURL"}
        connection.execute("INSERT INTO calls (event) VALUES (%s)", (json.dumps(kept),))
        if properties.get("Fail") == event["RequestType"]:
            raise RuntimeError(f"asked to fail: {properties.get('Version')}")
        row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    return {"Superuser": str(row and row[0]), "Version": properties["Version"]}
