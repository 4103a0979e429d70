"""Fill the marked block of docs/systems.md from the newest runs in a folder: `python docs/update_systems.py [runs]`."""

from __future__ import annotations

import sys
from pathlib import Path

from latentbench.bench.systems import systems_markdown

PAGE = Path(__file__).with_name("systems.md")
BEGIN, END = "<!-- systems:begin -->", "<!-- systems:end -->"


def replaced(page: str, content: str) -> str:
    """`page` with `content` in its block. Raises ValueError unless there is one such block."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"{PAGE.name} needs one {BEGIN} before one {END}")
    head, _, rest = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    PAGE.write_text(replaced(PAGE.read_text(), systems_markdown(folder)))
    print(f"{PAGE}: from {folder}")
