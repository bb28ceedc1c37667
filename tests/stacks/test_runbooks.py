"""Every alarm leads to a page that names it; no page serves none; the pages are of one form."""

import re
from pathlib import Path
from typing import Any

import pytest

from loglineos.fsck.findings import KINDS
from stacks.environment import ENVIRONMENTS
from stacks.synthesis import in_process, synthesize, templates
from tests.rehearsal.operator_shell import RUNBOOKS, Page, pages

# Pages that no alarm leads to: what else can happen.
SCENARIOS = {"README", "tampering", "restore", "key-compromise", "troubleshooting"}
SECTIONS = ["What rang and why", "Look", "What it usually is", "Mend", "When it is over", "Then"]
LINK = re.compile(r"\. (?:https://github\.com/[\w.-]+/[\w.-]+/blob/main/)?docs/runbooks/([\w-]+)\.md$")
# The manual's alarms (5.3) with what it says to do.
MANUAL = {
    "stage0-loader-errors": "Investigar logs",
    "stage0-loader-duration": "Possível timeout",
    "database-cpu": "Scale up",
    "database-connections": "Investigar leaks",
    "database-storage": "Planejar archiving",
}


def descriptions(monitoring: Any, properties: Any) -> dict[str, str]:
    alarms = properties(monitoring, "AWS::CloudWatch::Alarm").values()
    return {alarm["AlarmName"]: alarm["AlarmDescription"] for alarm in alarms}


def page_of(description: str) -> str:
    found = LINK.search(description)
    assert found, description
    return found[1]


def test_every_alarm_leads_to_a_page_that_names_it(each: Any, properties: Any) -> None:
    environment, found = each
    for name, description in descriptions(found["monitoring"], properties).items():
        named = {environment.resource(one.removeprefix("loglineos-")) for one in Page(page_of(description)).alarms}
        assert name in named, f"{description} does not name {name}"


def test_no_page_names_an_alarm_that_is_nowhere(synthesized: Any, properties: Any) -> None:
    found = [descriptions(synthesized(name)[1]["monitoring"], properties) for name in ENVIRONMENTS]
    alarms = {name: page_of(text) for each in found for name, text in each.items()}
    for name in pages():
        assert (Page(name).alarms == set()) == (name in SCENARIOS), name
        assert {alarms[alarm] for alarm in Page(name).alarms} <= {name}


def test_the_manuals_words_come_first(each: Any, properties: Any) -> None:
    environment, found = each
    told = descriptions(found["monitoring"], properties)
    for thing, words in MANUAL.items():
        assert told[environment.resource(thing)].startswith(f"{words}. "), thing


def test_an_e_mail_leads_to_the_repository_where_one_is_known(tmp_path: Path, properties: Any) -> None:
    app, environment = in_process("prod", tmp_path, github_repository="acme/ledger")
    told = descriptions(templates(environment, synthesize(app))["monitoring"], properties)
    page = "https://github.com/acme/ledger/blob/main/docs/runbooks/no-boot.md"
    assert told["loglineos-no-boot"] == f"Nothing has booted for 15 minutes: health_check.sh. {page}"


@pytest.mark.parametrize("name", sorted(set(pages()) - {"README", "troubleshooting"}))
def test_a_page_is_of_the_form_that_one_knows_at_night(name: str) -> None:
    assert re.findall(r"^## (.*)$", Page(name).text, re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("name", pages())
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", Page(name).text):
        assert (RUNBOOKS / target).is_file(), target


def test_the_index_has_every_page() -> None:
    linked = set(re.findall(r"\(([\w-]+)\.md\)", Page("README").text))
    assert linked == set(pages()) - {"README"}


def test_every_kind_of_finding_is_in_the_page_that_fsck_names() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", Page("tampering").text, re.MULTILINE)
    assert rows == list(KINDS)


def test_every_problem_of_the_manual_has_its_place() -> None:
    for problem in ("Boot function not allowed by manifest", "Function span not found", "Lambda timeout",
                    '"Connection timeout"', "Memories that a search does not find"):  # fmt: skip
        assert re.search(rf'^## "?{re.escape(problem.strip(chr(34)))}', Page("troubleshooting").text, re.MULTILINE)


def test_the_roles_sign_in_to_a_restored_database_by_its_own_resource_id(tmp_path: Path, properties: Any) -> None:
    app, environment = in_process("prod", tmp_path, database_resource_id="db-RESTORED1")
    found = templates(environment, synthesize(app))
    for part, users in (("functions", {"lambda_exec"}), ("deployment", {"lambda_exec", "readonly"})):
        allowed = re.findall(r":dbuser:[\w/-]+", str(properties(found[part], "AWS::IAM::Role")))
        assert {f":dbuser:db-RESTORED1/{user}" for user in users} <= set(allowed)
    # What is not imported does not stand in the way of the stack that exported it.
    assert not re.search(r"Primary\w+DbiResourceId", str(found))


def test_a_new_log_has_its_own_name_and_place(tmp_path: Path, properties: Any) -> None:
    app, environment = in_process("prod", tmp_path, log_number="2")
    found = templates(environment, synthesize(app))
    (deploy,) = [
        one for one in properties(found["deployment"], "AWS::Lambda::Function").values()
        if "LOG_ORIGIN" in one.get("Environment", {}).get("Variables", {})
    ]  # fmt: skip
    assert deploy["Environment"]["Variables"]["LOG_ORIGIN"] == "loglineos-ledger-2"
    assert str(deploy["Environment"]["Variables"]["ARCHIVE_LOCATION"]).endswith("/log-2']]}")
    assert str(found["archive"]["Outputs"]["ArchiveLocation"]["Value"]).endswith("/log-2']]}")
    (table,) = properties(found["archive"], "AWS::Glue::Table").values()
    assert "/log-2/spans/" in str(table["TableInput"]["StorageDescriptor"]["Location"])
    role = str(properties(found["deployment"], "AWS::IAM::Role"))
    assert "/log-2/log/*" in role
    assert "'/log/*'" not in role
    rules = str(properties(found["archive"], "AWS::S3::Bucket"))
    assert "'spans/'" in rules
    assert "'log-2/spans/'" in rules
