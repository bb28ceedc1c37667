"""What a warm loader keeps, and what it must not keep."""

from __future__ import annotations

import pytest

from tests.stage0_loader.stage import NOTHING, Stage

BORN = "import uuid\nBORN = str(uuid.uuid4())\ndef main(ctx):\n    return BORN\n"


def test_a_kernel_is_compiled_once_for_each_hash(stage: Stage) -> None:
    kernel = stage.publish(BORN)
    assert len({stage.boot(kernel, tenant=f"t{n}").output for n in range(4)}) == 1
    cold = stage.new_loader()
    assert stage.boot(kernel, loader=cold).output != stage.boot(kernel).output
    cold.database.close()


def test_a_new_version_runs_at_the_next_boot_of_a_warm_loader(stage: Stage) -> None:
    kernel = stage.publish(BORN)
    old = stage.boot(kernel).output
    stage.publish(BORN, kernel=kernel, seq=2)
    new = stage.boot(kernel).output
    assert new != old
    assert stage.boot(kernel).output == new


def test_a_version_that_cannot_be_trusted_does_not_fall_back_to_the_compiled_one(stage: Stage) -> None:
    kernel = stage.publish(BORN)
    assert stage.boot(kernel).status == 200
    stage.publish(BORN, kernel=kernel, seq=2)
    stage.tamper("code = code || '#'", kernel)
    assert stage.boot(kernel).status == 409


def test_a_kernel_that_failed_to_load_is_tried_again(stage: Stage, tmp_path: object) -> None:
    source = (
        f"import pathlib\nFLAG = pathlib.Path({str(tmp_path)!r}, 'there').read_text()\ndef main(ctx):\n    return FLAG"
    )
    kernel = stage.publish(source)
    assert stage.boot(kernel).status == 500
    with open(f"{tmp_path}/there", "w") as file:  # noqa: PTH123 - one line
        file.write("now")
    assert stage.boot(kernel).output == "now"


def test_two_kernels_of_one_name_are_kept_apart(stage: Stage) -> None:
    kernels = [stage.publish(f"HERE = {n}\ndef main(ctx):\n    return HERE", name="same") for n in range(2)]
    assert [stage.boot(kernel).output for kernel in kernels] == [0, 1]
    assert [stage.boot(kernel).output for kernel in kernels] == [0, 1]


@pytest.mark.parametrize("what", ["ctx.input['list'].append(2)", "ctx.manifest['allowed_boot_ids'].clear()"])
def test_what_a_kernel_does_to_its_ctx_stays_there(stage: Stage, what: str) -> None:
    kernel = stage.publish(f"def main(ctx):\n    {what}\n    return None")
    given = {"list": [1]}
    answer = stage.boot(kernel, given)
    assert answer.status == 200
    assert stage.one(id=answer.body["execution_id"]).input == {"list": [1]}
    assert stage.boot(stage.publish(NOTHING)).status == 200


def test_kernels_may_use_dataclasses_and_annotations_of_their_own(stage: Stage) -> None:
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass, asdict\n"
        "from pydantic import BaseModel\n@dataclass\nclass Part:\n    n: int\n"
        "class Whole(BaseModel):\n    parts: list[Inner]\nclass Inner(BaseModel):\n    n: int\n"
        "def main(ctx):\n    return [asdict(Part(1)), ctx.parse(Whole).model_dump()]"
    )
    assert stage.boot(stage.publish(source), {"parts": [{"n": 2}]}).output == [{"n": 1}, {"parts": [{"n": 2}]}]
