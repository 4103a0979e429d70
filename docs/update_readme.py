"""Fill the marked blocks of README.md from what there is: `python docs/update_readme.py [runs/quickstart]`.

`systems` lists the recipes and priors that are shipped; `predicted` is update_calibration.py's. Where the folder of a
finished run of the quickstart exists, three blocks and two pictures are made from it: `hero` has a plot of its images
(docs/quickstart.svg) and what it shows, `pictures` originals, reconstructions and samples (docs/quickstart.png),
`quickstart` the tables without their notes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from latentbench.bench.suite import load_suite
from latentbench.results.gallery import png, sheet, signals
from latentbench.results.leaderboard import leaderboard
from latentbench.results.plot import plot
from latentbench.results.rows import Row, column_names, rows
from latentbench.results.store import Store, atomic_write
from latentbench.tasks.priors.config import priors
from latentbench.tokenizers.recipe import load_recipe, recipe_names
from latentbench.tokenizers.spec import Modality

README = Path(__file__).parents[1] / "README.md"
# A table shows those of them that the records have.
COLUMNS = ("tsr", "real_bits_per_*", "real_kbits_*", "psnr", "si_sdr", "rfd_*", "gfd_*", "viv", "seconds")
PLOT, PICTURES = "docs/quickstart.svg", "docs/quickstart.png"
DISTANCE, FLOOR = "gfd_scattering", "fd_floor_scattering"


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


def hero(directory: Path) -> str:
    """The plot of the quickstart's images, drawn anew, as Markdown with what it shows."""
    table = [row for row in _finished(directory) if row["modality"] == "image"]
    where = f"dataset={table[0]['dataset']}"
    plot([directory], x="psnr", y=DISTANCE, group="label,tsr", where=where, out=README.parent / PLOT)
    clear, near = max(table, key=lambda row: row["psnr"]), min(table, key=lambda row: row[DISTANCE])
    verdict = (
        f"Here {_named(clear)} has both the best reconstructions ({clear['psnr']:.1f} dB) and the best samples "
        f"({near[DISTANCE]:.3g})."
        if clear is near
        else f"Here {_named(clear)} has the best reconstructions ({clear['psnr']:.1f} dB), but the samples nearest to "
        f"the data come from {_named(near)} ({near[DISTANCE]:.3g} against {clear[DISTANCE]:.3g}"
        f"{', intervals that overlap' if _overlap(clear, near) else ''})."
    )
    return (
        f"![Fréchet distance of samples over PSNR of reconstructions, a mark for each tokenizer]({PLOT})\n\n"
        "*Which of these would you take?* Each mark is a tokenizer of small pictures, with a prior trained on its "
        "latents. Further right, pictures come back better; further down, what the prior generates is nearer to the "
        "data. "
        f"{verdict} Held-out pictures themselves are at {near[FLOOR]:.2g}. (`latentbench run quickstart`; "
        "bars: 95 %, one seed.)"
    )


def pictures(directory: Path) -> str:
    """Originals, reconstructions and samples of one cell of each data set, drawn anew, as Markdown.

    The cell is that whose samples are nearest to the data.
    """
    best: dict[str, Row] = {}
    for row in _finished(directory):
        name = row["dataset"]
        if name not in best or row[DISTANCE] < best[name][DISTANCE]:
            best[name] = row
    atomic_write(README.parent / PICTURES, png(_montage(list(best.values()))))
    cells = ", ".join(f"{name}: {_named(row)}" for name, row in best.items())
    return (
        f"![Originals, reconstructions and samples of the quickstart's four data sets]({PICTURES})\n\n"
        "*Held-out originals, their reconstructions, and what the prior generates*, of the cell with the lowest "
        f"`{DISTANCE}` in each table ({cells}). A clip is a line of frames; sounds are shown as spectrograms."
    )


def quickstart(directory: Path) -> str:
    """The tables of the records below `directory` as Markdown, with a line on their origin."""
    known = column_names(rows([directory]))
    columns = [name for name in COLUMNS if any(fnmatchcase(column, name) for column in known)]
    lines: list[str] = []
    for line in leaderboard([directory], columns=columns).splitlines():
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


def _finished(directory: Path) -> list[Row]:
    """The finished cells that have samples. Raises ValueError when there is none."""
    table = [row for row in rows([directory]) if row["status"] == "finished" and row.get(DISTANCE) is not None]
    if not table:
        raise ValueError(f"{directory} has no finished cell with {DISTANCE}")
    return table


def _overlap(left: Row, right: Row) -> bool:
    """Whether the intervals of two cells' distances overlap; so do those that are not known."""
    one, two = left.metrics[DISTANCE].interval, right.metrics[DISTANCE].interval
    return one is None or two is None or (one[0] <= two[1] and two[0] <= one[1])


def _named(row: Row) -> str:
    return f"`{row['label']}` at TSR {row['tsr']:.4g}"


_ACROSS, _DOWN, _LINE = 4, 2, 22  # square tiles side by side, lines of tiles, pixels of a line of text
_BLOCKS = {"originals": "true", "reconstructions": "reconstructed", "samples of the prior": "samples"}


def _montage(cells: Sequence[Row]) -> np.ndarray:
    """A row per cell, a block of tiles per sort of signal, with words: `[H, W, 3]` uint8."""
    bands = []
    for row in cells:
        tensors = signals(row)
        blocks = [_block(tensors[name]) for name in _BLOCKS.values()]
        bands.append((f"{row['dataset']}: {row['label']}", blocks))
    wide, high = (max(block.shape[axis] for _, blocks in bands for block in blocks) for axis in (1, 0))
    step, gap = wide + 14, high + _LINE + 6
    page = Image.new("RGB", (len(_BLOCKS) * step - 14, _LINE + len(bands) * gap), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    for column, title in enumerate(_BLOCKS):
        draw.text((column * step, 0), title, fill="black", font=font)
    for i, (title, blocks) in enumerate(bands):
        draw.text((0, _LINE + i * gap), title, fill="black", font=font)
        for column, block in enumerate(blocks):
            page.paste(Image.fromarray(block), (column * step, 2 * _LINE + i * gap - 2))
    return np.asarray(page)


def _block(signal: np.ndarray) -> np.ndarray:
    """The first signals as lines of tiles, as many as fit into the width: of clips a clip a line, not every frame."""
    if signal.ndim == 5:
        frames = np.linspace(0, signal.shape[2] - 1, min(_ACROSS, signal.shape[2])).round().astype(int)
        return sheet([signal[:_DOWN, :, frames]])
    height, width = signal.shape[2:]
    across = max(1, round(_ACROSS * min(height, width) / width))
    return sheet([signal[: across * _DOWN]], across=across)


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
    blocks = {"hero": hero, "pictures": pictures, "quickstart": quickstart} if directory.is_dir() else {}
    for name, block in blocks.items():
        page = replaced(page, name, block(directory))
    README.write_text(page)
    print(f"{README}: systems" + (f"; {', '.join(blocks)} from {directory}" if blocks else ""))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/quickstart"))
