"""The life of an environment: first deploy, no-op, new row, new migration, failing migration, recovery, the end.

A story in order. Asserted is what AWS's API and SQL say afterwards.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import httpx
import pytest

from loglineos.aws.cloudformation.custom import RESPONSE_PATH
from loglineos.client import Client, Unauthenticated, enroll
from stacks.edge import DEVICE_ROUTES, PUBLIC_ROUTES
from tests.aws.readback import unreadable
from tests.rehearsal.kit import (
    LOADER,
    MEMORY,
    MIGRATION,
    PROMPT,
    TEMPLATES,
    WELCOME,
    Rehearsal,
    Release,
    released_rows,
)

ENROLLMENT, ACCESS_LOGS = "00000000-0000-4000-8000-000000000008", "/aws/vendedlogs/loglineos-edge"
DEPLOY_LOGS = "/aws/lambda/loglineos-db-deploy"


@pytest.fixture(scope="module")
def deployed(rehearsal: Rehearsal) -> Rehearsal:
    rehearsal.deploy("first")
    return rehearsal


def minimum_seqs(deployed: Rehearsal) -> dict[str, int]:
    """Below which the deployed loader runs nothing."""
    found = deployed.client("lambda").get_function_configuration(FunctionName=LOADER)
    seqs: dict[str, int] = json.loads(found["Environment"]["Variables"]["MINIMUM_SEQS"])
    return seqs


def runs(deployed: Rehearsal) -> list[dict[str, Any]]:
    """What the custom resource said of each successful run."""
    lines = [json.loads(line) for line in deployed.logs(DEPLOY_LOGS) if line.startswith("{")]
    return [line for line in lines if line["message"] == "deployed"]


def code_of(deployed: Rehearsal, function: str) -> str:
    sha: str = deployed.client("lambda").get_function_configuration(FunctionName=function)["CodeSha256"]
    return sha


# -- the first deployment


def test_every_stack_is_complete(deployed: Rehearsal) -> None:
    assert deployed.statuses() == dict.fromkeys(TEMPLATES, "CREATE_COMPLETE")


def test_the_rehearsal_leaves_out_no_stack(deployed: Rehearsal) -> None:
    synthesized = (deployed.repository / "cdk.out").glob("*.template.json")
    assert {path.name.removesuffix(".template.json") for path in synthesized} == set(TEMPLATES)


@pytest.mark.parametrize("stack", TEMPLATES)
def test_all_that_the_templates_say_can_be_read_back(deployed: Rehearsal, stack: str) -> None:
    assert unreadable(deployed.client, stack, deployed.template(stack)) == []


def test_the_database_is_migrated_and_seeded(deployed: Rehearsal) -> None:
    files = sorted(path.name for path in (deployed.repository / "migrations").glob("*.sql"))
    assert deployed.migrations() == files
    seeded = deployed.sql(
        "SELECT id::text, seq, coalesce(code, '') FROM ledger.universal_registry WHERE owner_id = 'system'"
    )
    assert {(span_id, seq): code for span_id, seq, code in seeded} == released_rows(deployed.repository)
    assert [run["inserted"] for run in runs(deployed)] == [len(seeded)]


def test_a_memory_is_stored_and_found_through_the_api(deployed: Rehearsal) -> None:
    deployed.remember("o gato dorme na varanda")
    deployed.remember("a chave fica na gaveta")
    assert deployed.found("gaveta") == ["a chave fica na gaveta"]
    assert deployed.found("telhado") == []


def test_each_boot_leaves_its_two_spans(deployed: Rehearsal) -> None:
    answer = deployed.boot(PROMPT, WELCOME)
    event, execution = (
        deployed.sql(
            "SELECT entity_type, status, owner_id, tenant_id, visibility, parent_id::text,"
            " metadata->>'boot_function_id' FROM ledger.universal_registry WHERE id = %s",
            answer[name],
        )
        for name in ("span_id", "execution_id")
    )
    assert event == [("boot_event", "started", "ana", "acme", "private", None, PROMPT)]
    assert execution == [("execution", "complete", "ana", "acme", "private", answer["span_id"], PROMPT)]


def test_the_manuals_command_boots_a_kernel(deployed: Rehearsal) -> None:
    line = r"""
aws lambda invoke \
  --function-name loglineos-stage0-loader \
  --payload '{"action":"boot","boot_function_id":"KERNEL_ID","input":{...}}' \
  response.json
"""
    given = '{"action":"store","content":"do terminal"}'
    done = deployed.shell(line.replace("KERNEL_ID", MEMORY).replace("{...}", given))
    assert json.loads(done.text) == {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
    output = json.loads(deployed.response["body"])["output"]
    stored = deployed.sql(
        "SELECT metadata->>'content', owner_id, tenant_id FROM ledger.universal_registry WHERE id = %s",
        output["memory"]["memory_id"],
    )
    assert stored == [("do terminal", "edge:stage0", "system")]


# -- what its operator sees

AGENTS = ("00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-000000000003",
          "00000000-0000-4000-8000-000000000004")  # fmt: skip
CLI = "import sys; from loglineos.cli import main; sys.argv[0] = 'loglineos'; main()"


def operate(deployed: Rehearsal, command: str) -> tuple[int, dict[str, Any]]:
    """`loglineos --env prod …` with `--json`: its exit code and answer. `local` carries prod's names."""
    done = deployed.shell(f'"{sys.executable}" -c "{CLI}" --env prod {command} --json 2>&1')
    assert done.text.startswith("{"), done.text
    answer: dict[str, Any] = json.loads(done.text)
    return done.code, answer


def test_health_is_well_once_the_schedules_have_run(deployed: Rehearsal) -> None:
    for kernel in AGENTS:
        event = {"action": "boot", "boot_function_id": kernel, "input": {}}
        deployed.client("lambda").invoke(FunctionName=LOADER, Payload=json.dumps(event))
    code, answer = operate(deployed, "health")
    found = {finding["check"]: finding for finding in answer["findings"]}
    failing = [finding for finding in answer["findings"] if finding["level"] == "failure"]
    assert (code, failing) == (0, []), failing
    for check in ("function db-deploy", "schema", "migrations", "kernel memory_store_kernel", "last boot", "storage"):
        assert found[check]["level"] == "ok", found[check]
    assert "of 20 GiB used" in found["storage"]["said"]


def test_xray_sees_the_deployed_ledger(deployed: Rehearsal) -> None:
    code, answer = operate(deployed, "xray")
    assert code == 0, answer["findings"]
    assert answer["spans"]["total"] == len(deployed.spans())
    assert (answer["integrity"]["broken"], answer["structure"]["differences"]) == (0, [])
    assert answer["growth"]["storage_gb"] == 100  # as far as RDS grows it


def test_the_daily_routine_reads_the_deployed_logs(deployed: Rehearsal) -> None:
    deployed.client("lambda").invoke(
        FunctionName=MIGRATION, Payload=json.dumps({"action": "query", "sql": "SELECT nothing"})
    )
    code, answer = operate(deployed, "routine daily")
    assert code == 0, answer
    (errors,) = [task for task in answer["tasks"] if task["manual"] == "Revisar erros no CloudWatch"]
    assert errors["said"].endswith("errors in 24 h in 3 of 3 logs")
    assert any("ERROR request failed: query_failed" in detail for detail in errors["details"]), errors


def test_the_monthly_audit_finds_what_somebody_gave_a_role(deployed: Rehearsal) -> None:
    audit = "Audit de acessos (IAM, DB users)"
    _, answer = operate(deployed, "routine monthly")
    assert {task["manual"]: task["state"] for task in answer["tasks"]}[audit] == "done", answer
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    given = {"RoleName": "loglineos-lambda-role", "PolicyName": "quick-fix"}
    deployed.client("iam").put_role_policy(**given, PolicyDocument=json.dumps(document))
    code, answer = operate(deployed, "routine monthly")
    deployed.client("iam").delete_role_policy(**given)
    (task,) = [task for task in answer["tasks"] if task["manual"] == audit]
    assert (code, task["state"]) == (1, "failed")
    assert any("--policy-name quick-fix" in finding["remedy"] for finding in task["findings"])


# -- nothing new


@pytest.fixture(scope="module")
def url(deployed: Rehearsal) -> str:
    """Of the HTTP API, as the stack's output says."""
    (edge,) = deployed.client("cloudformation").describe_stacks(StackName="loglineos-edge")["Stacks"]
    (found,) = [output["OutputValue"] for output in edge["Outputs"] if output["OutputKey"] == "Url"]
    return str(found)


def test_the_http_api_answers_its_documented_routes_alone(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        health = http.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        documented = http.get("/api/openapi.json").json()["paths"]
        routes = {f"{method.upper()} {path}" for path, methods in documented.items() for method in methods}
        assert routes == {*DEVICE_ROUTES, *PUBLIC_ROUTES}
        nobody = http.get("/api/manifest")
        assert (nobody.status_code, nobody.headers["content-type"]) == (401, "application/problem+json")
        elsewhere = http.post("/api/elsewhere", json={"action": "health"})
        assert (elsewhere.status_code, elsewhere.json()) == (404, {"message": "Not Found"})


def test_a_device_enrolls_works_and_is_revoked(deployed: Rehearsal, url: str) -> None:
    code = deployed.boot(ENROLLMENT, {"action": "invite"})["output"]["code"]
    device = enroll(url, code, app_name="rehearsal", app_version="1", fingerprint="a machine")
    assert device.tenant_id == "acme"
    with Client(url, device) as ledger:
        ledger.boot(MEMORY, {"action": "store", "content": "over HTTPS", "tags": ["edge"]})
        found = ledger.boot(MEMORY, {"action": "search", "search_query": "HTTPS"})["output"]["memories"]
        assert [memory["content"] for memory in found] == ["over HTTPS"]
        ledger.append({"entity_type": "note", "did": "said", "this": "hello"})
        assert ledger.timeline(limit=200)["spans"][-1]["this"] == "hello"
        deployed.boot(ENROLLMENT, {"action": "revoke", "device_id": device.device_id})
        with pytest.raises(Unauthenticated):
            ledger.manifest()


def test_requests_are_logged_without_their_tokens(deployed: Rehearsal, url: str) -> None:
    token = "a-token-that-nobody-should-read"
    httpx.get(f"{url}/api/manifest?x=a-secret", headers={"authorization": f"Bearer {token}"}, trust_env=False)
    lines = [json.loads(line) for line in deployed.logs(ACCESS_LOGS)]
    assert {"GET /health", "POST /api/boot", "POST /api/enroll", "-"} <= {line["routeKey"] for line in lines}
    assert {line["status"] for line in lines} == {"200", "401", "404"}
    written = deployed.logs(ACCESS_LOGS) + deployed.logs(f"/aws/lambda/{LOADER}")
    assert not any(token in line or "a-secret" in line for line in written)


def test_the_same_deployment_again_changes_nothing(deployed: Rehearsal) -> None:
    events, spans = deployed.event_counts(), deployed.spans()
    done = deployed.deploy("first")
    assert done.text.count("(no changes)") == len(TEMPLATES)
    assert (deployed.event_counts(), deployed.spans()) == (events, spans)
    assert len(runs(deployed)) == 1


def test_diff_says_so(deployed: Rehearsal) -> None:
    done = deployed.cdk("diff", "--all", deployment_id="first")
    assert "Number of stacks with differences: 0" in done.text


def test_another_deployment_id_runs_the_custom_resource_and_nothing_else(deployed: Rehearsal) -> None:
    events, spans = deployed.event_counts(), deployed.spans()
    deployed.deploy("second")
    now = deployed.event_counts()
    assert [stack for stack in TEMPLATES if now[stack] != events[stack]] == ["loglineos-deployment"]
    touched = {
        event["ResourceType"] for event in deployed.events("loglineos-deployment")[: -events["loglineos-deployment"]]
    }
    assert touched == {"AWS::CloudFormation::Stack", "Custom::LedgerDeployment"}
    first, second = runs(deployed)
    assert (second["applied"], second["inserted"], second["unchanged"]) == (0, 0, first["inserted"])
    assert deployed.spans() == spans


# -- a new version of a row


def test_a_new_version_of_a_kernel_runs_from_the_next_boot_on(deployed: Rehearsal) -> None:
    assert "version" not in deployed.boot(PROMPT, WELCOME)["output"]
    assert minimum_seqs(deployed)[PROMPT] == 1
    spans = deployed.spans()
    Release(deployed.repository).prompt_kernel(2)
    deployed.deploy("new row")
    assert deployed.boot(PROMPT, WELCOME)["output"]["version"] == 2
    assert spans < deployed.spans()


def test_the_ledger_has_both_versions_as_a_chain(deployed: Rehearsal) -> None:
    first, second = deployed.sql(
        "SELECT seq, curr_hash, prev_hash FROM ledger.universal_registry WHERE id = %s ORDER BY seq", PROMPT
    )
    assert (first[0], second[0]) == (1, 2)
    assert (first[2], second[2]) == (None, first[1])


def test_the_loader_takes_no_older_version_any_more(deployed: Rehearsal) -> None:
    assert minimum_seqs(deployed)[PROMPT] == 2


# -- a new migration


def test_a_new_migration_is_applied_once(deployed: Rehearsal) -> None:
    name = Release(deployed.repository).migration(
        "rehearsed", "CREATE TABLE app.rehearsed (n integer);\nINSERT INTO app.rehearsed VALUES (1);"
    )
    before = deployed.migrations()
    deployed.deploy("new migration")
    assert deployed.migrations() == [*before, name]
    assert runs(deployed)[-1]["applied"] == 1


# -- a migration that fails


@pytest.fixture(scope="module")
def failed(deployed: Rehearsal) -> dict[str, Any]:
    """A release with a bad migration and a new row; what was there before it, and what `cdk` said of it."""
    before = {
        "spans": deployed.spans(),
        "migrations": deployed.migrations(),
        "events": deployed.event_counts(),
        "code": [code_of(deployed, name) for name in (LOADER, "loglineos-db-deploy", "loglineos-db-migration")],
    }
    release = Release(deployed.repository)
    release.prompt_kernel(3)
    before["file"] = release.migration("fails", "CREATE TABLE app.never (n integer);\nSELECT 1 / 0;")
    return {**before, "done": deployed.cdk("deploy", "--all", deployment_id="failing")}


def test_a_failing_migration_fails_the_deployment_with_its_reason_in_a_line(failed: dict[str, Any]) -> None:
    assert failed["done"].code == 1
    reason = f"{failed['file']}: division by zero. Nothing of it was applied."
    told = [line for line in failed["done"].lines if reason in line]
    assert any("Custom::LedgerDeployment" in line for line in told), failed["done"].text
    assert "Traceback" not in failed["done"].text


def test_the_reason_is_in_the_stacks_events(failed: dict[str, Any], deployed: Rehearsal) -> None:
    (event,) = [
        event
        for event in deployed.events("loglineos-deployment")
        if event["ResourceStatus"] == "UPDATE_FAILED" and event["ResourceType"] == "Custom::LedgerDeployment"
    ]
    assert "division by zero" in event["ResourceStatusReason"]
    assert "\n" not in event["ResourceStatusReason"]


def test_the_stack_is_rolled_back_and_those_after_it_are_untouched(failed: dict[str, Any], deployed: Rehearsal) -> None:
    assert deployed.statuses()["loglineos-deployment"] == "UPDATE_ROLLBACK_COMPLETE"
    now = deployed.event_counts()
    changed = [stack for stack in TEMPLATES if now[stack] != failed["events"][stack]]
    assert changed == ["loglineos-deployment"]
    functions = (LOADER, "loglineos-db-deploy", "loglineos-db-migration")
    assert [code_of(deployed, name) for name in functions] == failed["code"]


def test_nothing_of_the_failed_release_is_in_the_database(failed: dict[str, Any], deployed: Rehearsal) -> None:
    assert deployed.spans() == failed["spans"]
    assert deployed.migrations() == failed["migrations"]
    assert deployed.sql("SELECT to_regclass('app.never')::text") == [(None,)]


def test_the_loader_still_answers_as_before(failed: dict[str, Any], deployed: Rehearsal) -> None:
    assert deployed.boot(PROMPT, WELCOME)["output"]["version"] == 2
    assert deployed.found("gaveta") == ["a chave fica na gaveta"]
    assert minimum_seqs(deployed)[PROMPT] == 2


def test_the_mended_release_can_be_deployed(failed: dict[str, Any], deployed: Rehearsal) -> None:
    before = deployed.spans()
    Release(deployed.repository).migration("fails", "CREATE TABLE app.never (n integer);")
    deployed.deploy("mended")
    assert deployed.statuses()["loglineos-deployment"] == "UPDATE_COMPLETE"
    assert deployed.migrations() == [*failed["migrations"], failed["file"]]
    assert deployed.sql("SELECT count(*) FROM app.never") == [(0,)]
    assert deployed.sql("SELECT n FROM app.rehearsed") == [(1,)]
    assert deployed.boot(PROMPT, WELCOME)["output"]["version"] == 3
    assert before < deployed.spans()
    assert minimum_seqs(deployed)[PROMPT] == 3


# -- what all of this has written down


def secret_values(deployed: Rehearsal) -> dict[str, str]:
    """Each secret's password or key, by the secret's name."""
    api = deployed.client("secretsmanager")
    found = {}
    for secret in api.list_secrets()["SecretList"]:
        value = api.get_secret_value(SecretId=secret["ARN"])["SecretString"]
        found[secret["Name"]] = json.loads(value)["password"] if value.startswith("{") else value
    return found


def test_no_secret_is_written_down_anywhere(deployed: Rehearsal) -> None:
    secrets = secret_values(deployed)
    assert {len(value) for value in secrets.values()} == {32, 64}
    groups = [group["logGroupName"] for group in deployed.client("logs").describe_log_groups()["logGroups"]]
    functions = {group: "\n".join(deployed.logs(group)) for group in groups if group.startswith("/aws/lambda/")}
    assert "deployed" in functions[DEPLOY_LOGS]
    assert "kernel verified" in functions[f"/aws/lambda/{LOADER}"]
    written = {
        **functions,
        "events": json.dumps([deployed.events(stack) for stack in TEMPLATES], default=str),
        "templates": json.dumps([deployed.template(stack) for stack in TEMPLATES]),
        "configuration": json.dumps(deployed.client("lambda").list_functions()["Functions"]),
        "cdk's output": "\n".join(deployed.printed),
        "PostgreSQL's log": (deployed.home / "postgres" / "postgres.log").read_text(),
    }
    # Whoever has the URL can answer CloudFormation in the function's place.
    forbidden = {**secrets, "the field": "ResponseURL", "the URL": RESPONSE_PATH}
    told = [(where, name) for where, text in written.items() for name, value in forbidden.items() if value in text]
    assert told == []


# -- the end of an environment that protects nothing


def test_destroy_leaves_nothing_of_an_unprotected_environment(deployed: Rehearsal) -> None:
    done = deployed.cdk("destroy", "--all", "--force", deployment_id="mended")
    assert deployed.statuses() == {}, done.text
    assert deployed.client("rds").describe_db_instances()["DBInstances"] == []
    assert deployed.client("lambda").list_functions()["Functions"] == []
    assert deployed.client("secretsmanager").list_secrets()["SecretList"] == []
