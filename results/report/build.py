"""`latentbench report`: everything of finished runs on one page that opens without a network."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..display import printable
from ..filters import select
from ..rows import Row, rows
from ..run_score import with_score_of
from ..store import Store
from .answers import answers
from .artifacts import forget, run_of
from .calibrations import calibrations
from .detail import detail, versions_of
from .differences import LINES, differences
from .failures import failures
from .libraries import datatables, plotly
from .media import media_bytes
from .model import Model, model
from .output import Folder, SingleFile

FOLDER_MIB, FILE_MIB = 256, 24  # of pictures and sounds, unless told
SCRIPTS = (
    *("core.js", "chart.js", "table.js", "overview.js", "explorer.js", "heatmap.js", "player.js", "sound.js"),
    "distribution.js",
    *("tokenizer.js", "compare.js", "calibration.js", "failures.js", "live.js", "main.js"),
)
_CHUNK = 24  # lines whose details are in one script


def report(
    dirs: Sequence[Path | str],
    *,
    out: Path | str = "report",
    where: str | Sequence[str] | None = None,
    media: float | None = None,
    live: bool = False,
    score: Path | None = None,
) -> Path:
    """Write the report of the runs in `dirs` and return its page: `out`, if that ends in `.html`, or `out/index.html`.

    `where` are filters as `select` takes them. `media` is about the most MiB of signals' pictures and sounds
    (default 256 of a folder, 24 of a file): what does not fit is left out, the same share of every tokenizer's
    samples, of which one at least is shown unless it is 0. `live` is for a server that the page asks how a run goes
    on. With a `score`, a file that `calibrate --fit-score` wrote, or a `score.json` in the folders, lines have the
    column `modelability_score`. Raises UserError for folders without a run, unknown filters, damaged files, runs
    that can't stand beside each other, missing packages, and a place that can't be written.
    """
    libraries = {"plotly.min.js": plotly()}
    libraries["datatables.js"], libraries["datatables.css"] = datatables()
    forget()
    table = rows(dirs, boards=False)
    chosen = select(with_score_of(table, dirs, score), where)
    known = model(chosen)
    single = str(out).lower().endswith((".html", ".htm"))
    place = SingleFile(Path(out)) if single else Folder(Path(out))
    budget = (media if media is not None else FILE_MIB if single else FOLDER_MIB) * 2**20
    share = _share(known, budget, place.size)
    details: list[dict[str, Any]] = []
    for number, line in enumerate(known.lines):
        if number % _CHUNK == 0:
            details.append({})
        details[-1][line.id] = detail(line.group, place.save, share=share)
    own = {name: files(f"{__package__}.assets").joinpath(name).read_bytes() for name in ("style.css", *SCRIPTS)}
    data = plain(known, chosen, dirs) | {"share": share, "live": live, "single": single}
    return place.finish(libraries | own, data, details)


def plain(known: Model, chosen: Sequence[Row], dirs: Sequence[Path | str]) -> dict[str, Any]:
    """What the page embeds, but for the tokenizers' details: JSON."""
    sections = []
    for place, section in enumerate(known.sections):
        lines = known.lines_of(place)
        sections.append(
            dict(section.plain)
            | {"answers": answers(section, lines), "differences": differences(section), "lines": [x.id for x in lines]}
        )
    return {
        "version": version("latentbench"),
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "dirs": [printable(str(path)) for path in dirs],
        "chunk": _CHUNK,
        "compared": LINES,
        "runs": runs(chosen),
        "sections": sections,
        "columns": [dict(column) for column in known.columns],
        "lines": [dict(line.plain) for line in known.lines],
        "failures": failures(chosen),
        "calibrations": calibrations(chosen),
    }


def runs(chosen: Sequence[Row]) -> list[dict[str, Any]]:
    """What ran: per folder and suite the cells by status, when, on what devices and hosts, with which versions."""
    result: dict[tuple[str, str], dict[str, Any]] = {}
    for row in chosen:
        place = (row["source"], row["suite"])
        run = result.setdefault(place, {"cells": Counter(), "jobs": {}, "datasets": {}})
        run["cells"][str(row["status"]).partition(":")[0]] += 1
        run["jobs"] |= dict.fromkeys(row.jobs.values())
        run["datasets"][row["dataset"]] = row["modality"]
    return [_run(source, suite, run) for (source, suite), run in result.items()]


def _run(source: str, suite: str, run: dict[str, Any]) -> dict[str, Any]:
    store = Store(source)
    facts = [told for job in run["jobs"] if (told := run_of(store, job)) is not None]
    times = [str(f[name]) for f in facts for name in ("started", "finished") if name in f]
    seconds = [f["seconds"] for f in facts if isinstance(f.get("seconds"), int | float)]
    versions = dict.fromkeys(text for f in facts for text in versions_of(f))
    return {
        "source": source,
        "suite": suite,
        "cells": dict(run["cells"]),
        "datasets": run["datasets"],
        "jobs": len(run["jobs"]),
        "finished_jobs": len(facts),
        "seconds": sum(seconds),
        "began": min(times, default=""),
        "ended": max(times, default=""),
        "devices": list(dict.fromkeys(str(f["device"]) for f in facts if f.get("device"))),
        "hosts": list(dict.fromkeys(str(f["host"]) for f in facts if f.get("host"))),
        "versions": list(versions),
    }


def _share(known: Model, budget: float, size: Callable[[bytes, str], int]) -> float:
    """The share of every line's stored samples that fits into the budget of bytes, `size` of each content."""
    if budget <= 0:
        return 0.0
    expected = 0
    for line in known.lines:  # of each the first seed that stored any, which is shown
        expected += next((count for row in line.group.rows if (count := media_bytes(row, size))), 0)
    return 1.0 if expected <= budget else budget / expected
