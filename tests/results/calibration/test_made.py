"""Columns that tokenizers of codes and of values share, from runs to a file and a score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from latentbench.results.calibration.made import made, made_by_seed, made_direction, made_means, shared_name
from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.run_records import observe, read_runs
from latentbench.results.calibration.score import fit_score
from latentbench.results.calibration.score_file import from_json, summary, to_json
from latentbench.results.calibration.scored import scored_rows
from latentbench.results.calibration.table_file import read_table
from latentbench.results.calibration.table_writer import write_table
from latentbench.results.errors import UserError
from latentbench.results.groups import Group
from latentbench.results.metric import Metric
from latentbench.results.metrics import Metrics
from latentbench.results.record import Record
from latentbench.results.rows import Row, rows
from latentbench.results.store import Store

NEIGHBOURS = "cfd_neighbours_scattering"


def row(discrete: bool | None, **distances: float) -> Row:
    metrics = [Metric(name=name, value=value, n=64, direction="lower") for name, value in distances.items()]
    columns = {} if discrete is None else {"discrete": discrete}
    return Row(columns=columns, axes={}, metrics=Metrics.of({m.name: m for m in metrics}), jobs={})


def test_the_prior_that_knows_neighbours_is_another_of_codes_than_of_values() -> None:
    of_values = made(row(False, gfd_net=1, cfd_autoregression_net=7, cfd_gaussian_net=5, cfd_interpolation_net=2))
    assert {name: metric.value for name, metric in of_values.items()} == {
        "cfd_best_net": 5,
        "cfd_neighbours_net": 7,
        "codes": 0,
    }
    codes = made(row(True, gfd_net=1, cfd_order_zero_net=4, cfd_markov_net=3))
    assert {name: metric.value for name, metric in codes.items()} == {
        "cfd_best_net": 3,
        "cfd_neighbours_net": 3,
        "codes": 1,
    }
    assert made(row(None, gfd_net=1)) == {}
    assert [*map(shared_name, ("cfd_markov_my_net", "cfd_gaussian_net"))] == [
        "cfd_neighbours_my_net",
        "cfd_gaussian_net",
    ]
    names = ("cfd_best_net", "cfd_neighbours_net", "codes", "cfd_markov_net")
    assert [*map(made_direction, names)] == ["lower", "lower", "none", None]


def test_they_are_means_over_seeds() -> None:
    values = (row(False, cfd_autoregression_net=1.0), row(False, cfd_autoregression_net=4.0))
    seeds = tuple(replace(one, columns={**one.columns, "seed": seed}) for seed, one in enumerate(values))
    group = Group(suite="", dataset="", modality="", recipe="", label="", axes={}, rows=seeds)
    assert made_by_seed(group) == {"cfd_neighbours_net": {0: 1.0, 1: 4.0}, "codes": {0: 0.0, 1: 0.0}}
    assert made_means(group) == {"cfd_neighbours_net": 2.5, "codes": 0.0}


@pytest.fixture
def kinds(runs: Path) -> Path:
    """The runs with four families, two of codes; the neighbours' distance knows the outcome but for the kind."""
    store = Store(runs)
    (suite,) = store.read_suites()
    cells = []
    for place, recipe in enumerate(("kl-vae", "vq-vae", "pca", "fsq")):
        of = "vq-vae" if recipe == "fsq" else recipe
        for cell in suite["cells"]:
            if cell["recipe"] != of:
                continue
            codes = recipe in ("vq-vae", "fsq")
            key = cell["cell"].replace(of, recipe)
            gfd = 2.0 ** (place + cell["axes"]["channels"] / 5) * (1.02 if cell["seed"] else 1.0)
            name = f"cfd_{'markov' if codes else 'autoregression'}_scattering"
            distance = Metric(
                name=name, value=64 * gfd * (8 if codes else 1), n=64, direction="lower", role="modelability"
            )
            record = Record(kind="closed_form", key=key, status="finished", metrics=(distance,))
            extra = {"measured_by": {name: name[4:-11]}}
            store.save(replace(record, extra=extra, run={"proxy_seconds": {name[4:-11]: 1.0 + codes}}))
            outcome = Metric(
                name="gfd_scattering", value=gfd, n=64, direction="lower", role="distribution", shown="first"
            )
            store.save(Record(kind="generation", key=key, status="finished", metrics=(outcome,)))
            tokenizer = store.outcome(*cell["jobs"]["tokenizer"].split("/"))
            assert isinstance(tokenizer, Record)
            store.save(replace(tokenizer, key=key))
            jobs = {**cell["jobs"], **{kind: f"{kind}/{key}" for kind in ("tokenizer", "closed_form", "generation")}}
            cells.append(cell | {"cell": key, "recipe": recipe, "label": recipe, "discrete": codes, "jobs": jobs})
    store.write_suite("demo", cells)
    return runs


def test_a_score_of_both_kinds_from_runs_and_from_their_file(kinds: Path, tmp_path: Path) -> None:
    (table,) = read_runs([kinds], proxies=["cfd_neighbours_*", "viv"], baselines=["psnr"])
    assert [p.name for p in table.predictors if not p.baseline] == ["viv", NEIGHBOURS]
    assert {p.name: p.seconds for p in table.predictors}[NEIGHBOURS] == pytest.approx(1.5)
    assert {item.name.partition(" ")[0]: item.values["codes"] for item in table.items} == {
        **dict.fromkeys(("kl-vae", "pca"), 0.0),
        **dict.fromkeys(("vq-vae", "fsq"), 1.0),
    }
    score = fit_score([table], least=1, draws=100)
    assert [term.proxy for term in score.terms] == ["codes", NEIGHBOURS]
    assert score.beyond is not None
    assert score.beyond.explained > 0.2
    write_table(tmp_path / "values.csv", [kinds])
    from_file = fit_score([read_table(tmp_path / "values.csv", outcome=None, proxies=[NEIGHBOURS])], least=1, draws=100)
    assert [term.coefficient for term in from_file.terms] == pytest.approx(
        [t.coefficient for t in score.terms], abs=1e-5
    )

    (tmp_path / "score.json").write_text(to_json(score, [table]))
    read = from_json(tmp_path / "score.json")
    assert read.beyond == score.beyond
    assert any("beyond telling codes from values" in line for line in summary(read))
    older = json.loads((tmp_path / "score.json").read_text())
    del older["tested"]["beyond codes and values"]
    (tmp_path / "older.json").write_text(json.dumps(older))
    assert from_json(tmp_path / "older.json").beyond is None

    scored = scored_rows(rows([kinds]), read)
    assert all(line["modelability_score"] is not None for line in scored)
    assert "(beyond telling codes from values ρ " in scored[0].metrics["modelability_score"].protocol


def test_codes_are_a_dull_baseline_where_both_kinds_are(kinds: Path) -> None:
    (table, *_) = observe(rows([kinds]))
    (codes,) = (p for p in table.predictors if p.name == "codes")
    assert codes.baseline
    (table, *_) = observe(rows([kinds]), fixed=["codes"])
    assert table.fixed == ("codes",)
    partial = {r.predictor.name: r.partial for r in calibrate(table, draws=50).proxies}[NEIGHBOURS]
    assert partial is not None
    assert partial.value > 0.8
    with pytest.raises(UserError, match="--given"):
        observe(rows([kinds]), fixed=["code"])
