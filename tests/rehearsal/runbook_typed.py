"""Every page of docs/runbooks, typed block by block by an operator of the deployed local stack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rehearsal.kit import Rehearsal
from tests.rehearsal.operator_shell import Block, Operator, Page, pages, programs_of
from tests.rehearsal.runbook_harm import nothing
from tests.rehearsal.runbook_scenarios import SCENARIOS, Scenario

# Blocks that no test types, by how they begin, and why.
NOT_TYPED = {
    "bash deploy.sh prod": "minutes of a deployment, which test_story.py does; the scenario puts back what it would",
    "npx cdk deploy -e": "no replica of the emulator follows another database, and no sign-in is by token there",
    "aws cloudformation detect-stack-drift": "there is no drift in the emulator",
}
# It exits 1 for what the pages before broke, such as the day's alerts, as well as for what is broken still.
HEALTH = "loglineos --env prod health"


@pytest.fixture(scope="module")
def programs(deployed: Rehearsal) -> Iterator[Path]:
    with programs_of(deployed) as folder:
        yield folder


@pytest.fixture
def operator(deployed: Rehearsal, programs: Path) -> Iterator[Operator]:
    made = Operator(deployed, programs)
    yield made
    made.close()


@pytest.mark.parametrize("name", pages())
def test_a_runbooks_commands_do_what_it_says(name: str, operator: Operator) -> None:
    scenario, page = SCENARIOS[name], Page(name)
    shown = dict.fromkeys(scenario.says, "")
    scenario.provoke(operator)
    try:
        for block in page.blocks:
            said = _type(block, scenario, operator)
            for part in scenario.says:
                shown[part] += said if part in block.text else ""
    finally:
        scenario.after(operator)
    for part, pattern in scenario.says.items():
        assert re.search(pattern, shown[part], re.MULTILINE), f"{part}: no {pattern} in\n{shown[part]}"


def _type(block: Block, scenario: Scenario, operator: Operator) -> str:
    scenario.before.get(block.text, nothing)(operator)
    if any(block.text.startswith(part) for part in NOT_TYPED):
        if not block.elsewhere:
            next(step for part, step in scenario.instead.items() if part in block.text)(operator)
        return ""
    assert not block.elsewhere, f"{block.text}: the page says that only AWS can do it"
    text = operator.fill(block.text)
    if block.language == "sql":
        return operator.sql(text)
    if text == HEALTH:
        said = operator.bash(text, 0, 1)
        assert re.search(r"^\d+ checks", said, re.MULTILINE), said
        return said
    return operator.bash(text, *(1 for part in scenario.fails if text.startswith(part)))


def test_no_page_is_without_a_scenario() -> None:
    assert pages() == sorted(SCENARIOS)
    blocks = [block.text for name in pages() for block in Page(name).blocks]
    for part in NOT_TYPED:
        assert any(text.startswith(part) for text in blocks), f"no page has {part}"
