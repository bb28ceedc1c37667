"""What changes of the stacks' templates, as Markdown: `template_diff.py <before> <after>`, a folder an environment."""

import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 60_000  # GitHub refuses a comment of more than 65,536 characters


def templates(folder: Path) -> dict[str, list[str]]:
    found = sorted(folder.glob("*/*.template.json"))
    return {str(path.relative_to(folder)): _lines(path) for path in found}


def _lines(path: Path) -> list[str]:
    return json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=1, sort_keys=True).splitlines()


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> Iterator[tuple[str, list[str]]]:
    for name in sorted({*before, *after}):
        lines = list(difflib.unified_diff(before.get(name, []), after.get(name, []), lineterm="", n=4))[2:]
        if lines:
            yield name.removesuffix(".template.json"), lines


def markdown(before: Path, after: Path) -> str:
    found = list(differences(templates(before), templates(after)))
    if not found:
        return "No template changes.\n"
    text = f"{len(found)} templates change.\n"
    for name, lines in found:
        part = "\n<details><summary>{}</summary>\n\n```diff\n{}\n```\n</details>\n".format(name, "\n".join(lines))
        if len(text) + len(part) > LONGEST:
            return f"{text}\n… and more: the job's log has the rest.\n"
        text += part
    return text


if __name__ == "__main__":
    sys.stdout.write(markdown(Path(sys.argv[1]), Path(sys.argv[2])))
