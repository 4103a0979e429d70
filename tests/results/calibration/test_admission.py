"""Which outcomes a prior has earned."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentbench.bench import cli
from latentbench.results.calibration.admission import admission, best_closed_forms
from latentbench.results.calibration.run_records import read_runs
from latentbench.results.errors import UserError
from latentbench.results.groups import Group
from latentbench.results.metric import Metric
from latentbench.results.metrics import Metrics
from latentbench.results.record import Record
from latentbench.results.rows import Row
from latentbench.results.store import Store


def distance(name: str, value: float | None, se: float | None = 1.0) -> Metric:
    return Metric(name=name, value=value, se=se, n=64, direction="lower", role="distribution")


def group(*seeds: tuple[Metric, ...]) -> Group:
    rows = tuple(
        Row(columns={}, axes={}, metrics=Metrics.of({m.name: m for m in metrics}), jobs={}) for metrics in seeds
    )
    return Group(suite="", dataset="", modality="", recipe="", label="", axes={}, rows=rows)


def verdict(*seeds: tuple[Metric, ...], outcomes: tuple[str, ...] = ("gfd_net",)) -> tuple[int, int, int]:
    result = admission([group(*seeds)], outcomes)
    return len(result.admitted), len(result.censored), result.untested


def test_the_gap_is_measured_in_errors_of_the_difference() -> None:
    limit = 1.959964 * math.hypot(3, 4)
    for gap, admitted in ((limit + 0.01, 1), (limit - 0.01, 0), (-1.0, 0)):
        pair = (distance("gfd_net", 10, 3.0), distance("cfd_gaussian_net", 10 + gap, 4.0))
        assert verdict(pair)[0] == admitted


def test_the_best_in_closed_form_counts_and_every_seed_must_pass() -> None:
    good = (distance("gfd_net", 1), distance("cfd_gaussian_net", 9), distance("cfd_independent_net", 50))
    bad = (distance("gfd_net", 8), *good[1:])
    assert verdict(good, good) == (1, 0, 0)
    assert verdict(good, bad) == (0, 1, 0)


def test_interpolation_is_no_model_and_other_nets_do_not_count() -> None:
    own = (distance("gfd_net", 5), distance("cfd_gaussian_net", 20))
    assert verdict((*own, distance("cfd_interpolation_net", 1))) == (1, 0, 0)
    other = (distance("gfd_my_net", 5), distance("cfd_gaussian_my_net", 1))
    assert verdict((*own, *other)) == (1, 0, 0)
    assert verdict((*own, *other), outcomes=("gfd_net", "gfd_my_net")) == (0, 1, 0)
    assert verdict((distance("gfid", 5), distance("cfd_gaussian_inception", 4)), outcomes=("gfid",)) == (0, 1, 0)


def test_the_best_is_known_by_net_also_without_a_prior() -> None:
    closed = [distance(f"cfd_{name}_net", value) for name, value in (("gaussian", 4), ("kronecker", 3))]
    nets = [distance("rfd_net", 1), distance("rfid", 1), distance("cfd_markov_inception", 7)]
    (row,) = group((*closed, *nets, distance("cfd_interpolation_net", 1))).rows
    assert {net: metric.value for net, metric in best_closed_forms(row).items()} == {"net": 3, "inception": 7}


def test_what_cannot_be_tested_is_admitted_and_counted() -> None:
    assert verdict((distance("gfd_net", 5),)) == (1, 0, 1)
    assert verdict((distance("gfd_net", 5), distance("cfd_gaussian_net", None))) == (1, 0, 1)


def test_an_error_is_read_from_an_interval() -> None:
    wide = replace(distance("gfd_net", 5, None), interval=(0.0, 10.0))
    assert verdict((wide, distance("cfd_gaussian_net", 9, 0.0))) == (0, 1, 0)
    assert verdict((wide, distance("cfd_gaussian_net", 11, 0.0))) == (1, 0, 0)


def test_an_undertrained_prior_is_rarely_admitted() -> None:
    """Where trained and closed-form priors are equally good, a cell of one seed passes by chance in 2.5 % of cases."""
    rng = np.random.default_rng(0)
    pairs = (
        [group((distance("gfd_net", 10 + a, 1.0), distance("cfd_gaussian_net", 10 + b, 1.0)))]
        for a, b in rng.standard_normal((4000, 2))
    )
    share = sum(len(admission(pair, ["gfd_net"]).admitted) for pair in pairs) / 4000
    assert 0.015 < share < 0.035


@pytest.fixture
def closed_form(runs: Path) -> Callable[[float], Path]:
    """Adds to the runs a Gaussian's distance on the first net."""

    def add(value: float) -> Path:
        store = Store(runs)
        index = runs / "suites/demo.json"
        suite = json.loads(index.read_text())
        for cell in suite["cells"]:
            key = cell["cell"]
            store.save(
                Record(
                    kind="closed_form",
                    key=key,
                    status="finished",
                    metrics=(
                        replace(distance("cfd_gaussian_scattering", value, None), role="modelability", shown="asked"),
                    ),
                )
            )
            cell["jobs"]["closed_form"] = f"closed_form/{key}"
        store.write_suite("demo", suite["cells"])
        return runs

    return add


def test_runs_are_censored_by_default(closed_form: Callable[[float], Path]) -> None:
    runs = closed_form(4.0)  # the fixture's gFD is 2 ** (place + size / 4): pca's are 4 and more
    table = read_runs([runs])[0]
    assert len(table.items) == 6
    assert not any(item.family == "pca" for item in table.items)
    assert table.notes[0].startswith("Censored: 3 cells")
    assert "pca (channels=8)" in table.notes[0]
    assert len(read_runs([runs], admit="all")[0].items) == 9


def test_the_best_in_closed_form_can_be_named(closed_form: Callable[[float], Path]) -> None:
    runs, best = closed_form(64.0), "cfd_best_scattering"

    def proxies(**options: Any) -> list[str]:
        return [p.name for p in read_runs([runs], **options)[0].predictors if not p.baseline]

    assert best in proxies()
    assert proxies(proxies=["viv", best]) == proxies(proxies=["viv", "cfd_best_*"]) == ["viv", best]
    assert proxies(proxies=["viv"]) == ["viv"]
    assert best not in proxies(baselines=["cfd_best_*"])
    table = read_runs([runs], proxies=[best])[0]
    assert table.predictors[0].direction == "lower"
    assert {item.values[best] for item in table.items} == {64.0}


def test_runs_without_closed_forms_say_so(runs: Path) -> None:
    assert any("not known of 9 cells" in note for note in read_runs([runs])[0].notes)
    assert not read_runs([runs], outcome="psnr")[0].notes


def test_where_nothing_is_left_the_message_says_why(closed_form: Callable[[float], Path]) -> None:
    with pytest.raises(UserError, match=r"clearly better than the best in closed form \(--admit all takes \d+"):
        read_runs([closed_form(0.5)])


@pytest.mark.slow
def test_the_command_names_the_censored(
    closed_form: Callable[[float], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["calibrate", str(closed_form(4.0)), "--format", "text"]) == 0
    assert "Censored: 3 cells" in " ".join(capsys.readouterr().out.split())
