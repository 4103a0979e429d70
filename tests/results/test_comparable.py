"""No rank, bold or arrow over values that may not be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentbench.results.claims import Claim, ClaimComparison, judge
from latentbench.results.comparable import incomparable
from latentbench.results.errors import UserError
from latentbench.results.groups import aggregate
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.plots.panels import panels
from latentbench.results.rows import Row, rows
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]
SEEDS = 3


def measured(name: str, value: float, direction: str, **fields: Any) -> Metric:
    return Metric(name=name, value=value, interval=(value - 0.1, value + 0.1), n=64, direction=direction, **fields)  # type: ignore[arg-type]


def suite(tmp_path: Path, add: Add, *, seeds: int = SEEDS, channels: tuple[int, int] = (4, 4)) -> Store:
    """Two recipes, far apart by every metric; of a run with psnr alone they would be ranked 1 and 2."""
    store, random = Store(tmp_path), np.random.default_rng(0)
    cells = []
    for place, name in enumerate(("a", "b")):
        for seed in range(seeds):
            value = 10.0 * (place + 1) + float(random.normal(0, 0.01))
            metrics = [
                measured("psnr", value, "higher", role="distortion"),
                measured("gfd_net", value, "lower", role="distribution"),
                measured("viv", value, "lower", role="modelability"),
                measured("viv_normalised", value, "lower", role="modelability", compared="table"),
                measured("flow_loss", value, "lower", role="prior"),
            ]
            shape = {"channels": channels[place]}
            cells.append(add(store, name, recipe=name, label=name, metrics=metrics, seed=seed, **shape))
    store.write_suite("s", cells)
    return store


def reasons(store: Store) -> dict[str, str]:
    groups = aggregate(rows([store]))
    names = ("psnr", "gfd_net", "viv", "viv_normalised", "flow_loss")
    return {name: reason for name in names if (reason := incomparable(groups, name))}


def test_losses_compare_on_one_tokenizer_and_proxies_at_one_shape(tmp_path: Path, add: Add) -> None:
    assert list(reasons(suite(tmp_path / "alike", add))) == ["flow_loss"]
    assert list(reasons(suite(tmp_path / "other", add, channels=(4, 8)))) == ["viv", "flow_loss"]


def on_tokenizer(table: list[Row], cell: str, job: str) -> list[Row]:
    return [replace(r, jobs={**r.jobs, "tokenizer": job}) if r["cell"].startswith(cell) else r for r in table]


def test_two_priors_of_one_tokenizer_compare_by_their_losses(tmp_path: Path, add: Add) -> None:
    table = rows([suite(tmp_path, add)])
    shared = [replace(row, jobs={**row.jobs, "tokenizer": f"tokenizer/{row['seed']}"}) for row in table]
    assert incomparable(aggregate(shared), "flow_loss") == ""
    # one seed of another tokenizer is enough to forbid it
    one_other = [*shared[:-1], table[-1]]
    assert "the tokenizers differ" in incomparable(aggregate(one_other), "flow_loss")
    # and so is a scramble of its latents
    scrambled = [replace(row, jobs={**row.jobs, "scramble": f"scramble/{row['cell']}"}) for row in shared]
    assert "the tokenizers differ" in incomparable(aggregate(scrambled), "flow_loss")


def test_one_seed_ranks_no_recipes_by_what_training_decides(tmp_path: Path, add: Add) -> None:
    store = suite(tmp_path, add, seeds=1)
    assert list(reasons(store)) == ["gfd_net", "viv", "viv_normalised", "flow_loss"]
    assert all("one seed" in reason or "differ" in reason for reason in reasons(store).values())
    # The same of codecs, which nothing trains: their latents are what they are. Their priors' samples are not.
    table = [replace(row, columns={**row.columns, "tokenizer_flops": 0}) for row in rows([store])]
    assert [name for name in reasons(store) if incomparable(aggregate(table), name)] == ["gfd_net", "flow_loss"]


@pytest.mark.parametrize("format", ["md", "latex", "html"])
def test_tables_say_so_and_mark_nothing(tmp_path: Path, add: Add, format: str) -> None:
    store = suite(tmp_path, add, channels=(4, 8))
    columns = "viv,viv_normalised,flow_loss"
    text = leaderboard([store.root], format=format, columns=columns, sort="flow_loss").replace("\\_", "_")
    said = "no rank, since" if format == "latex" else "no best and no rank, since"
    assert f"viv: {said} it depends on the shape of the latents" in text
    assert f"flow_loss: {said} it is measured on the latents of each tokenizer" in text
    assert ("Without a rank and a best: viv, flow_loss." in text) == (format == "latex")
    arrow = {"md": "{} ↓", "latex": r"{} $\downarrow$", "html": "{} ↓"}[format]
    assert arrow.format("VIV normalised").rpartition(" ")[2] in text  # LaTeX breaks the heading
    assert arrow.format("flow loss") not in text
    bold = {"md": "**", "latex": r"\textbf", "html": "<b>"}[format]
    assert text.count(bold) == {"md": 2}.get(format, 1)  # viv_normalised's best alone
    assert "Rank by" not in text


def test_the_default_table_is_ranked_by_what_may_be_compared(tmp_path: Path, add: Add) -> None:
    store = suite(tmp_path, add)
    assert "Rank by psnr" in leaderboard([store.root])
    lines = leaderboard([store.root], columns="flow_loss,gfd_net", where="recipe=a")
    assert "gFD net@64 ↓" in lines  # a single line compares nothing
    assert "Rank by" not in leaderboard([store.root], sort="flow_loss")


def test_fronts_and_plots(tmp_path: Path, add: Add) -> None:
    store = suite(tmp_path, add)
    for format in ("md", "csv", "json"):
        with pytest.raises(UserError, match=r"Pareto front: lines may not be compared by 'flow_loss', since"):
            leaderboard([store.root], format=format, pareto="psnr,flow_loss")
    (panel,) = panels(rows([store]), x="flow_loss", y="psnr")
    assert (panel.x_label, panel.y_label) == ("flow loss", "PSNR ↑")


def test_claims_are_not_judged_by_it(tmp_path: Path, add: Add) -> None:
    def status(table: list[Row], metric: str, **options: Any) -> tuple[str, str]:
        comparison = ClaimComparison(metric=metric, left="a", relation="below", right="b", **options)
        (finding,) = judge(Claim(id="x", name="x", claim="x", comparisons=(comparison,)), table)
        return finding.status, finding.reason

    table = rows([suite(tmp_path / "three", add)])
    assert status(table, "flow_loss") == (
        "not run",
        "it is measured on the latents of each tokenizer, and the tokenizers differ",
    )
    assert status(table, "flow_loss", across_latents=True)[0] == "confirmed"
    assert status(table, "viv")[0] == "confirmed"
    once = rows([suite(tmp_path / "one", add, seeds=1)])
    assert status(once, "gfd_net")[0] == "not run"
    assert status(once, "psnr")[0] == "confirmed"
