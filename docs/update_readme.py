"""Fill the marked blocks of README.md from what there is: `python docs/update_readme.py [runs/quickstart]`.

`systems` lists the recipes and priors that are shipped. `quickstart` gets the tables of a finished run, where its
folder exists: the tables alone, without the notes below them, and one line on what they were made on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from latentbench.results.leaderboard import leaderboard
from latentbench.results.store import Store
from latentbench.tasks.priors.config import priors
from latentbench.tokenizers.recipe import load_recipe, recipe_names
from latentbench.tokenizers.spec import Modality

README = Path(__file__).parents[1] / "README.md"
COLUMNS = ("tsr", "bits_per_sample", "rate_bits", "psnr", "si_sdr", "rfd_encoder_*", "gfd_encoder_*", "viv", "seconds")
# The field's systems that priors stand for; recipes say it of themselves.
PRIORS = {"ar": "C2", "unet": "C4", "flow": "C5", "givt": "C6", "mar": "C6", "wavenet": "C7", "diffwave": "C7"}
PRIORS |= {"cascade": "C9", "pixelcnn": "C1", "maskgit": "C3", "hierarchical": "C11", "set_ar": "C8", "set_flow": "C8"}


def systems() -> str:
    """The shipped recipes and priors as a Markdown table, in the order of the systems' numbers."""
    lines = []
    for recipe in map(load_recipe, recipe_names()):
        everywhere = set(recipe.modalities) == set(Modality)
        lines.append((recipe.systems, recipe.name, recipe.title, "all" if everywhere else ", ".join(recipe.modalities)))
    for name in priors.names():
        summary = (priors.get(name).__doc__ or "").strip().splitlines()[0]
        title = re.split(r"[,.:]( |$)", re.sub(r" \(.*?\)|`", "", summary))[0]
        lines.append(((PRIORS.get(name, "C"),), name, title, ""))
    lines.sort(key=lambda line: [(system[0], int(system[1:] or 0)) for system in line[0]])
    rows = [f"| {', '.join(ids)} | `{name}` | {title} | {where} |" for ids, name, title, where in lines]
    return "\n".join(["| system | recipe or prior | what it is | modalities |", "| --- | --- | --- | --- |", *rows])


def quickstart(directory: Path) -> str:
    """The tables of the records below `directory` as Markdown, with a line on their origin."""
    lines: list[str] = []
    for line in leaderboard([directory], columns=COLUMNS).splitlines():
        if line.startswith("## "):
            lines += ["", f"**{line.removeprefix('## ').rpartition(' · ')[2]}**", ""]
        elif line.startswith("|"):
            lines.append(line)
    return "\n".join([*lines, "", _origin(directory)]).strip()


def replaced(page: str, name: str, content: str) -> str:
    """`page` with `content` in the block called `name`. Raises ValueError unless there is one such block."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"README.md needs one {begin} before one {end}")
    head, _, rest = page.partition(begin)
    return f"{head}{begin}\n{content}\n{end}{rest.partition(end)[2]}"


def _origin(directory: Path) -> str:
    runs = [record.run for record in Store(directory).iterate() if record.run]
    devices = _distinct(run.get("device_name") or str(run.get("device", "")).upper() for run in runs)
    versions = _distinct(f"torch {run['versions']['torch']}" for run in runs if "torch" in run.get("versions", {}))
    days = sorted(str(run["finished"])[:10] for run in runs if "finished" in run)
    return (
        f"`latentbench run quickstart` on {', '.join(devices)}, {', '.join(versions)}, {days[-1] if days else ''}. "
        "One seed; ±: half of the 95 % interval within the run; bold: the best and what can't be told apart from it."
    )


def _distinct(words: Iterable[str]) -> list[str]:
    return sorted({word for word in words if word})


def main(directory: Path) -> None:
    page = replaced(README.read_text(), "systems", systems())
    if directory.is_dir():
        page = replaced(page, "quickstart", quickstart(directory))
    README.write_text(page)
    print(f"{README}: systems" + (f", quickstart from {directory}" if directory.is_dir() else ""))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart"))
