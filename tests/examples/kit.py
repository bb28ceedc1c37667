"""What lies in `examples/`: each file of code, with the input and the output beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Example:
    """A function or a policy, by its file."""

    path: Path

    @property
    def name(self) -> str:
        """The file's name, and the function's."""
        return self.path.stem

    @property
    def code(self) -> str:
        """Its source."""
        return self.path.read_text(encoding="utf-8")

    def json(self, kind: str) -> Any:
        """The file beside it: `input`, `output` or `span`."""
        return json.loads(self.path.with_suffix(f".{kind}.json").read_text(encoding="utf-8"))


def examples(folder: str) -> list[Example]:
    """All of a folder."""
    return [Example(path) for path in sorted((ROOT / folder).glob("*.py"))]
