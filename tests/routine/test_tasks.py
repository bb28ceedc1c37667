"""Each task of the manual's section 9: what it finds where something is wrong, and what it leaves to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from db_migration.xray.action import SECTIONS
from ledger.database import Identity
from loglineos.health.facts import gather
from loglineos.routine import access, ledger, logs, recovery, release
from loglineos.routine.others import Ended, Others
from loglineos.routine.task import Outcome, Round
from loglineos.routine.tasks import TASKS
from tests.health.kit import Ward, boot
from tests.ledger.kit import put, sealed
from tlog.checkpoint import Checkpoint
from tlog.note import NoteKey

ROOT = Path(__file__).parents[2]
# Manual 9.1 to 9.4, word for word.
MANUAL = {
    "daily": ["Revisar erros no CloudWatch", "Verificar métricas de execução", "Monitorar uso de storage RDS"],
    "weekly": [
        "Review de logs de erro acumulados", "Verificar crescimento do ledger", "Testar restore de backup",
        "Atualizar dependências npm (se houver CVEs)",
    ],
    "monthly": [
        "Audit de acessos (IAM, DB users)", "Revisão de políticas ativas",
        "Limpeza de spans antigos (opcional, com cuidado)", "Performance tuning (índices, query plans)",
        "Atualizar documentação",
    ],
    "quarterly": [
        "Disaster recovery drill (restore completo)", "Revisão de custos AWS",
        "Atualização de runtime Node.js (se disponível)", "Security audit completo",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Scripted(Others):
    """Commands that end as a test says."""

    endings: Mapping[str, Ended] = field(default_factory=dict)

    def command(self, *arguments: str, timeout_s: float) -> Ended:
        return self.endings[arguments[0]]


@pytest.fixture(scope="module")
def round_(ward: Ward) -> Round:
    boot(ward, "00000000-0000-4000-8000-000000000002")
    return new_round(ward)


def new_round(ward: Ward) -> Round:
    return Round(gather(ward.backend(), SECTIONS, 100), ward.backend(), Others(frozenset()), storage_gb=1)


def test_every_checkbox_of_the_manual_has_its_task_and_its_line_in_the_docs() -> None:
    assert {period: [task.manual for task in tasks if task.manual] for period, tasks in TASKS.items()} == MANUAL
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for tasks in TASKS.values():
        for task in tasks:
            assert f"| {task.manual or '–'} | {task.title} |" in page, task.title


def test_errors_are_read_from_this_machines_logs(ward: Ward, round_: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLINEOS_DIRECTORY", str(ward.folder))
    before = logs.errors(round_, days=1)
    log = ward.folder / "logs" / "loglineos-db-migration.log"
    stamp = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S,000+0000}"
    line = '{"level":"ERROR","message":"ERROR request failed","timestamp":"%s","code":"query_failed","error":"n %s"}\n'
    with log.open("a") as file:
        file.writelines([line % (stamp, 12345), line % (stamp, 67890), line % ("2020-01-01 00:00:00,000+0000", 1)])
    found = logs.errors(round_, days=1)
    assert (before.said, found.said) == ("0 errors in 24 h in 3 of 3 logs", "2 errors in 24 h in 3 of 3 logs")
    assert found.details == ["2 × ERROR request failed: query_failed: n <n>"]
    assert "`grep -h ERROR .local/logs/*.log`" in found.findings[0].remedy


def test_executions_that_fail_are_named(ward: Ward) -> None:
    now = datetime.now(UTC)
    kernel = {"boot_function_id": "00000000-0000-4000-8000-000000000006"}
    for n in range(20):
        status, me = ("error" if n < 5 else "complete"), Identity("ana", "acme")
        put(
            ward.ledger, sealed(me, entity_type="execution", status=status, at=now, duration_ms=30_000, metadata=kernel)
        )
    found = ledger.executions(new_round(ward))
    assert found.state == "done"
    assert [(one.check, one.said) for one in found.findings] == [
        ("prompt_fetch_kernel", "5 of 20 executions failed"),
        ("prompt_fetch_kernel", "one in twenty takes more than 30000 ms"),
    ]


def test_who_may_do_more_than_the_release_gives_fails_the_audit(ward: Ward, round_: Round) -> None:
    assert access.audit(round_).state == "done"
    ward.break_("GRANT SELECT ON ledger_idx.usage TO readonly")
    try:
        found = access.audit(new_round(ward))
    finally:
        ward.break_("REVOKE SELECT ON ledger_idx.usage FROM readonly")
    assert found.state == "failed"
    assert any("REVOKE what is too much ON ledger_idx.usage FROM readonly" in one.remedy for one in found.findings)


def test_a_tenants_new_policy_is_for_a_person_to_read(ward: Ward, round_: Round) -> None:
    assert ledger.policies(round_).said == "5 active, no tenant's is newer than a month"
    mine = sealed(Identity("ana", "acme"), entity_type="policy", status="active", name="mine", at=datetime.now(UTC))
    put(ward.ledger, mine)
    found = ledger.policies(new_round(ward))
    assert (found.state, found.said) == ("person", "6 active; read the code of those that are new: mine of acme")
    assert any(detail.startswith("mine seq 0 of acme, by a test on ") for detail in found.details)


def test_what_is_old_is_counted_and_never_deleted(ward: Ward) -> None:
    before = ledger.old_spans(new_round(ward))
    put(ward.ledger, sealed(Identity("ana", "acme"), at="2020-01-01T00:00:00Z"))
    after = ledger.old_spans(new_round(ward))
    assert (before.said.partition(" ")[0], after.said.partition(" ")[0]) == ("0", "1")
    assert "Nothing is ever deleted" in after.said


def test_growth_storage_and_tuning_say_what_they_know(round_: Round) -> None:
    assert "a day" in ledger.growth(round_).said
    assert "give --storage-gb" in ledger.growth(replace(round_, storage_gb=None)).said
    assert ledger.storage(round_).said.startswith("the database is ")
    tuned = ledger.tuning(round_)
    assert any(detail.startswith("index ledger_idx.") for detail in tuned.details)
    assert tuned.findings[-1].check == "slow statements"


def program(folder: Path, name: str, answer: str, code: int = 0) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {code}\n")
    path.chmod(0o755)
    return path


CLEAN_NPM = '{"metadata":{"vulnerabilities":{"total":0}}}'
CLEAN_PIP = '{"dependencies":[{"name":"click","version":"8","vulns":[]}]}'


@pytest.mark.parametrize(
    ("pip", "npm", "state", "said"),
    [
        (CLEAN_PIP, CLEAN_NPM, "done", "1 pinned, none with a known vulnerability"),
        (
            '{"dependencies":[{"name":"click","version":"8","vulns":[{"id":"PYSEC-1"}]}]}', CLEAN_NPM, "failed",
            "click 8: PYSEC-1",
        ),
        (
            CLEAN_PIP, '{"metadata":{"vulnerabilities":{"total":1}},"vulnerabilities":{"left-pad":{}}}', "failed",
            "left-pad",
        ),
        (CLEAN_PIP, '{"message":"request to the registry failed"}', "person", "request to the registry failed"),
        ("no network", CLEAN_NPM, "person", "no network"),
    ],
)  # fmt: skip
def test_dependencies(round_: Round, tmp_path: Path, pip: str, npm: str, state: str, said: str) -> None:
    tools = {"pip-audit": program(tmp_path, "pip-audit", pip, 1), "npm": program(tmp_path, "npm", npm)}
    found = release.dependencies(replace(round_, others=Others(frozenset(), tools=tools)))
    assert found.state == state
    assert said in [finding.said for finding in found.findings]


def test_tools_that_are_not_there_are_a_persons_task(round_: Round, tmp_path: Path) -> None:
    nowhere = {"pip-audit": tmp_path / "a", "npm": tmp_path / "b"}
    found = release.dependencies(replace(round_, others=Others(frozenset(), tools=nowhere)))
    assert found.state == "person"
    assert found.findings[0].remedy.startswith("`pipx run pip-audit ")


def test_a_tool_that_is_on_the_path_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path, "an-audit", "")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert Others(frozenset()).tool("an-audit") == found


def test_a_command_reads_paths_as_the_routine_was_given_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SigningKey(b"checkpoint key of this test !!!!")
    (tmp_path / "note").write_text(Checkpoint("a-log", 1, b"r" * 32).sign(key))
    (tmp_path / "log.key").write_text(str(NoteKey("a-log", bytes(key.verify_key))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGLINEOS_LOG_KEY", "log.key")
    ended = Others(frozenset()).command("verify", "note", timeout_s=60)
    assert (ended.code, ended.error) == (0, "")


TUNNEL = Ended(1, "", "Error: this command reads the database itself: open a tunnel to it, set DATABASE_URL")


@pytest.mark.parametrize(
    ("endings", "drill", "state", "said"),
    [
        ({}, True, "person", "restore the newest backup into an empty database"),
        ({"drill": Ended(0, '{"report": "a/drill.json"}', "")}, True, "done", "report a/drill.json"),
        ({"drill": Ended(0, "{}", "")}, False, "person", "left out by --no-drill"),
        ({"drill": Ended(1, "", "Error: the drill failed: 3 spans are missing")}, True, "failed", "the drill failed"),
        ({"drill": TUNNEL}, True, "person", "is not reached from here"),
        ({"drill": Ended(2, "", "Error: Invalid value for --key: cannot read a")}, True, "person", "cannot read a"),
    ],
)
def test_the_drill(round_: Round, endings: dict[str, Ended], drill: bool, state: str, said: str) -> None:
    found = recovery.drill(replace(round_, others=Scripted(frozenset(endings), endings=endings), drill=drill))
    assert (found.state, said in found.said) == (state, True), found


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (None, "person"), (Ended(0, '{"spans": 9, "sealed": 9}', ""), "done"), (TUNNEL, "person"),
        (Ended(2, "", "Error: Missing option '--key'."), "person"),
        (Ended(2, "", "Error: Invalid value for --key: cannot read log.key"), "person"),
        (Ended(1, '{"finding_count": 2, "findings": [{"message": "its hash differs"}]}', ""), "failed"),
    ],
)  # fmt: skip
def test_the_security_audit_is_fsck_privileges_and_keys(round_: Round, ending: Ended | None, state: str) -> None:
    endings = {"fsck": ending} if ending else {}
    found: Outcome = recovery.security(replace(round_, others=Scripted(frozenset(endings), endings=endings)))
    assert found.state == state
    if state == "failed":
        assert found.findings[-1].said == "2 findings, the first: its hash differs"
    assert {"manifest", "database users", "signing of rows", "integrity"} <= {one.check for one in found.findings}


def test_costs_and_runtimes(round_: Round) -> None:
    assert recovery.costs(round_).state == "done"
    on_aws = replace(round_, facts=replace(round_.facts, deployed=True, on_aws=True))
    assert "`aws ce get-cost-and-usage" in recovery.costs(on_aws).said
    old = {"functions": {"stage0-loader": {"runtime": "python3.12"}}}
    found = release.runtimes(replace(round_, facts=replace(round_.facts, aws=old)))
    assert (found.findings[0].level, found.findings[0].said.startswith("Python 3.12; Lambda offers 3.")) == (
        "warning", True
    )  # fmt: skip
    assert release.documents(round_).state == "person"
