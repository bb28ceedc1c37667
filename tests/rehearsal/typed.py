"""What docs/admin-manual.md tells people to type from section 4 on, and what each block has to print here."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from loglineos.local.postgres import Server
from tests.docs.pages import DOCS, TYPED, Block, Page
from tests.rehearsal import original
from tests.rehearsal.kit import MEMORY, Done, Rehearsal
from tests.rehearsal.operator_shell import programs_of

BLOCKS = [block for block in Page(DOCS / "admin-manual.md").blocks if block.section >= 4 and block.language in TYPED]

# By the number of the section and the block's place in it: a pattern of what it prints.
PRINTS = {
    "4/1": r"^$",
    "4.1/1": r"rows are in the ledger\.[\s\S]*The schema is up to date\.[\s\S]*unchanged\trun_code_kernel\t\d+\t",
    "4.1/3": r"rows are in the ledger\.[\s\S]*prompt_fetch_kernel\t2\n",
    "4.2/1": r"00000000-0000-4000-8000-000000000008\tapp_enrollment_kernel\t\d+\tactive",
    "4.2/2": r"allowed_boot_ids",
    "4.2/3": r"\nfunction\t\d+\n",
    "4.3/1": r"Tenant new_tenant_id is set up for admin@example\.com[\s\S]*\nnew_tenant_id\tadmin@example\.com\t",
    "4.3/2": r"\ttelegram\t1\.2\t",
    "5.1/1": r"boot_function_id.{1,9}00000000-0000-4000-8000-",
    "5.2/1": r"\tcomplete\t\d+",
    "5.2/2": r"\nacme\t\d+\t\d+",
    "5.2/3": r"tenant_id\tapp_count\nsystem\t1",
    "5.3/1": r"loglineos-no-boot\t",
    "6.1/1": r"before-release-2 is available\.[\s\S]*before-release-2",
    "6.2/1": r"The folder's backups hold[\s\S]*The folder's backups hold[\s\S]*2 backups with .* whole\.",
    "6.3/1": r"are back\.[\s\S]*unchanged\trun_code_kernel\t\d+\t[\s\S]*Nothing is wrong\.",
    "6.4/1": r"loglineos-prod-restored is available\.[\s\S]*loglineos era begin",
    "7.2/1": r"admin\tfalse\tfalse\tfalse\nlambda_exec\ttrue\tfalse\tfalse\nreadonly\ttrue\tfalse\tfalse",
    "7.3/1": r"ur_insert_policy[\s\S]*ur_select_policy",
    "7.4/1": r"has manifest seq \d[\s\S]*within five minutes\.[\s\S]*\nloader\t[0-9a-f]{64}\tmanifest seq \d\t",
    "8.1/1": r"00000000-0000-4000-8000-000000000007",
    "8.1/2": r"unchanged\tmemory_store_kernel\t\d+\t[\s\S]*000000000007\tmemory_store_kernel\t\d+",
    "8.1/3": r"slowest[\s\S]*000000000007\t\d+\t\d+\n[\s\S]*Kernels[\s\S]*memory_store_kernel",
    "8.1/4": r"\"available\"[\s\S]*ok +database",
    "8.1/5": r"antes do manual",
    "8.3/1": r"ok +manifest +seq \d[\s\S]*checks: ",
    "9.1/1": r"\[x\] Storage and connections[\s\S]* done, 0 for a person, 0 failed\.",
    "9.3/1": r"\[x\] Who may do what[\s\S]* 0 failed\.",
    "9.4/1": r"Recovery drill of .*: passed[\s\S]*\[x\] Security audit",
    "10.2/2": r"DBInstanceClass.: .db\.t4g\.large",
    "10.3/1": r"count\tpg_size_pretty\n\d+",
    "10.3/2": r"log  s3://[\s\S]*are what was recorded \(held against the log of \d+ entries\)",
}
# Why one is not typed here.
NOT_HERE = {
    "4.1/2": "it deploys to an AWS account; what is deployed there is held by tests/stacks",
    "8.2/1": "it deploys to an AWS account; what is logged at DEBUG is tried by tests/stage0_loader",
    "9.2/1": "it asks the internet for known vulnerabilities; tests/routine tries it with answers of its own",
}
# The original manual's own commands are typed by the tests of this folder that say what each has to change.
WITH_THE_ORIGINALS = {block.name for block in BLOCKS if block.text.strip() in {one.strip() for one in original.ALL}}


IN_A_TEST_OF_ITS_OWN = {"7.4/1"}
TO_TYPE = [block for block in BLOCKS if block.name not in {*NOT_HERE, *WITH_THE_ORIGINALS, *IN_A_TEST_OF_ITS_OWN}]


def named(name: str) -> Block:
    """The block of that name."""
    (found,) = [block for block in BLOCKS if block.name == name]
    return found


@contextmanager
def operated(rehearsal: Rehearsal) -> Iterator[None]:
    """The deployed repository as a clone in which `make setup` was done: its programs, and its `.local`."""
    with programs_of(rehearsal):
        (rehearsal.repository / ".venv" / "bin" / "activate").write_text("")
        (rehearsal.repository / ".local").symlink_to(rehearsal.home)
        yield


def server(deployed: Rehearsal) -> Server:
    """Its PostgreSQL."""
    running = deployed.postgres.running()
    assert running is not None
    return running


def filled(deployed: Rehearsal, block: Block) -> dict[str, str]:
    """What the reader of a block fills in, by its word in capitals."""
    fill = {"KERNEL_ID": MEMORY, "USER": "ana", "TENANT": "acme", "ROW_KEYS": "''"}
    fill["TARGET_URL"] = server(deployed).url("postgres", "restored")
    if "LOG_KEY" in block.text:
        shown = type_block(deployed, Block("6.2/2", "bash", "loglineos checkpoint show"), {}).text
        told = dict(re.findall(r"(?m)^(log|key) +(\S+)$", shown))
        fill |= {"LOG": told["log"], "LOG_KEY": told["key"]}
    return fill


def type_block(deployed: Rehearsal, block: Block, fill: Mapping[str, str]) -> Done:
    """A block, filled in, by bash in the clone, after the two lines with which section 4 begins."""
    text = re.sub(r"\b[A-Z_]{3,}\b", lambda word: fill.get(word[0], word[0]), block.text)
    if block.language == "sql":
        text = f"loglineos query {shlex.quote(text)}"
    paths = f"{deployed.repository}:{deployed.repository / 'lambdas'}"
    start = f". .venv/bin/activate\n. .local/env\nexport PATH={deployed.home}/programs:$PATH PYTHONPATH={paths}\n"
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", start + text],
        cwd=deployed.repository,
        capture_output=True,
        text=True,
        timeout=600,  # of a busy machine, for what has hung
        check=False,
    )
    return Done(process)
