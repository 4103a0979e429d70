"""Fill the marked block of docs/reliability.md from docs/faults.json: `python docs/update_reliability.py`.

`python -P tests/coverage/faults.py` brings the faults about and writes that file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("reliability.md")
FAULTS = Path(__file__).with_name("faults.json")
BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"


def table(faults: Mapping[str, Mapping[str, Any]]) -> str:
    """The faults as a Markdown table, a row each."""
    header = "| fault | how it is brought about | what the user sees | what is kept |\n| --- | --- | --- | --- |"
    return "\n".join([header, *(_row(name, result) for name, result in faults.items())])


def _row(name: str, result: Mapping[str, Any]) -> str:
    lines = [f"`{line}`" for line in (_cell(line) for line in result["seen"])]
    ended = f"exit code {result['exit']}" if result["exit"] >= 0 else f"(ended by signal {-result['exit']})"
    return f"| {name} | {result['how']} | {'<br>'.join([*lines, ended])} | {_kept(result)} |"


def _kept(result: Mapping[str, Any]) -> str:
    records = f"{len(result['kept'])} of {result['records']} records"
    if result["again"]:
        records += f" (done again: {', '.join(result['again'])})"
    parts = [records]
    if result["continued"]:
        parts.append("the checkpoint, from which training goes on")
    elif any("starts anew" in line for line in result["seen"]):
        parts.append("training begins anew")
    parts.append("in the end all is as without the fault" if result["same"] else "in the end something differs")
    return "; ".join(parts)


def _cell(line: str) -> str:
    return re.sub(r"\s+", " ", line).replace("|", "/").replace("`", "'")


def filled(page: str, content: str) -> str:
    """The page with that block. Raises ValueError unless there is one."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"{PAGE.name} needs one {BEGIN} before one {END}")
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(), table(json.loads(FAULTS.read_text()))))


if __name__ == "__main__":
    main()
