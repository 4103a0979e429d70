"""Fill the marked blocks of README.md from what there is: `python docs/update_readme.py [runs/quickstart]`.

`systems` lists the recipes and priors that are shipped. `quickstart` gets the tables of a finished run, where its
folder exists: the tables alone, without the notes below them, and one line on what they were made on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from latentbench.bench.suite import load_suite
from latentbench.results.leaderboard import leaderboard
from latentbench.results.store import Store
from latentbench.tasks.priors.config import priors
from latentbench.tokenizers.recipe import load_recipe, recipe_names
from latentbench.tokenizers.spec import Modality

README = Path(__file__).parents[1] / "README.md"
COLUMNS = (
    "tsr",
    "real_bits_per_pixel",
    "real_kbits_per_second",
    "psnr",
    "si_sdr",
    "rfd_encoder_*",
    "gfd_encoder_*",
    "viv",
    "seconds",
)


def systems() -> str:
    """The shipped recipes, by the system that they are of, and the priors as a Markdown table."""
    rows = []
    names = {claim.id: claim.name for claim in load_suite("systems").claims}
    recipes = [load_recipe(name) for name in recipe_names()]
    for recipe in sorted(recipes, key=lambda recipe: [(system[0], int(system[1:])) for system in recipe.systems]):
        where = "all" if set(recipe.modalities) == set(Modality) else ", ".join(recipe.modalities)
        of = ", ".join(f"[{names[system]} ({system})](docs/systems.md#{system.lower()})" for system in recipe.systems)
        rows.append(f"| `{recipe.name}` | {recipe.title} | {where} | {of} |")
    for name in priors.names():
        summary = (priors.get(name).__doc__ or "").strip().splitlines()[0]
        title = re.split(r"[,.:]( |$)", re.sub(r" \(.*?\)|`", "", summary))[0]
        rows.append(f"| `{name}` | {title} |  | [prior](docs/priors.md) |")
    return "\n".join(["| recipe or prior | what it is | modalities | system |", "| --- | --- | --- | --- |", *rows])


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
        "One seed; ±: half of the 95 % interval within the run; bold: the best and what does not differ from it."
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
