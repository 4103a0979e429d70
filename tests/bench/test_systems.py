"""The table of systems, and the suite that fills it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli, systems
from latentbench.bench.further_systems import FURTHER
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite, suite_names
from latentbench.bench.systems import HEAD, claims_of, last_run, systems_markdown, systems_text
from latentbench.results.claims import Finding
from latentbench.results.errors import UserError
from latentbench.results.metrics import Metrics
from latentbench.results.rows import rows
from latentbench.results.store import Store
from latentbench.tasks.priors.config import priors
from latentbench.tokenizers.recipe import load_recipe, recipe_names
from latentbench.tokenizers.spec import Modality

CLAIMS = load_suite("systems").claims


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Of the suite as it is shipped."""
    return make_plan(load_suite("systems"), {})


# Every system of the field's list.
IDS = [f"{letter}{i}" for letter, count in (("A", 25), ("B", 18), ("C", 11), ("F", 12)) for i in range(1, count + 1)]

# Two of its cells, with as little training as there is.
TINY: dict[str, Any] = {
    "name": "systems",
    "data": {"size": 16, "samples": 48, "val": 24},
    "tokenizers": [
        {"recipe": "linear-ae", "channels": 4},
        {"recipe": "pca", "channels": 4},
    ],
    "seeds": [0, 1],
    "training": {"steps": 2, "batch_size": 8},
    "encoder": {"width": 8, "training": {"steps": 2, "batch_size": 8}},
    "tasks": ["reconstruction", "probes"],
    "probes": {"names": ["losses", "normal_samples"]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTBENCH_CACHE", str(folder.parent / "cache"))
        assert run_suite(TINY, out=folder, engine="inline").failed == 0
    return folder


@pytest.mark.slow
def test_the_table_tells_what_the_records_say(run: Path) -> None:
    lines = systems_text(run).splitlines()
    assert all(len(line) <= 200 for line in lines)
    assert lines[0].split("  ")[0] == "system"
    starts = [line.split()[0] for line in lines if line[:1] in ("A", "B", "C", "F") and line[1:2].isdecimal()]
    assert starts == IDS
    text = systems_text(run)
    assert "loss_l2: linear-ae not above pca" in text
    assert "2 seeds" in text
    assert text.count("not run") > 20
    assert f"records: {run}" in text
    # What is claimed of every seed by itself is no test by an interval, and what has no cells none at all.
    assert "Comparisons tested: 1, each with an interval of its own" in " ".join(lines)


@pytest.mark.slow
def test_markdown_has_a_row_per_system(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "systems", "--runs", str(run.parent), "--format", "md"]) == 0
    out = capsys.readouterr().out
    assert out.strip() == systems_markdown(run).strip()
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(IDS)
    assert all(line.count(" | ") == len(HEAD) - 1 for line in table[2:])
    assert "<br>image: loss_l2: linear-ae not above pca" in out


def test_without_a_run_nothing_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert last_run(None) == (None, [])
    assert "nothing was run" in systems_text()
    with pytest.raises(UserError, match="no run of the suite 'systems' there"):
        systems_text(tmp_path)


def test_every_system_has_a_row_and_says_where_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "systems"]) == 0
    assert "F11 From crops" in capsys.readouterr().out
    assert [line.split()[0] for line in systems.brief()] == IDS
    for system in FURTHER:
        assert set(system.priors) <= set(priors.names()), system.id
        assert set(system.suites) <= {*suite_names(), "eval"}, system.id
        if system.statement and system.runs:
            assert [system.id in {claim.id for claim in load_suite(name).claims} for name in system.suites] == [True]
        named = re.findall(r"suites? ([\w, -]+?)(?:$| \(|, suite)", system.where)
        assert {name for names in named for name in names.split(", ")} <= set(suite_names()), system.id
        assert bool(system.priors or system.suites) == system.runs, system.id
    assert {kind for system in FURTHER for kind in system.priors} == set(priors.names())
    assert all(system.runs for system in FURTHER)


@pytest.mark.slow
def test_priors_and_suites_have_their_last_result(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mini,) = rows([undisturbed])[1:]
    table = rows([undisturbed])
    (c2,) = (system for system in FURTHER if system.id == "C2")
    (line,) = systems._generated(c2, table)
    value = mini.metrics["gfd_encoder_supervised"].value
    assert line == f"image: gfd_encoder_supervised {value:.4g} (ar on vq-vae)"
    other = replace(mini.metrics["gfd_encoder_supervised"], name="gfd_other", value=value / 2)
    both = replace(mini, metrics=Metrics.of({**mini.metrics, "gfd_other": other}))
    assert systems._generated(c2, [both]) == [line], "a smaller number of a net that does not lead is no better result"
    assert systems._finished(("mini",), undisturbed) == [
        f"mini: 2 of 2 cells finished: latentbench leaderboard {undisturbed}"
    ]


def test_a_verdict_from_one_seed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = CLAIMS[0].comparisons[0]
    actual = [
        Finding(comparison=comparison, dataset=modality, modality=modality, status=status, value=1.0, seeds=seeds)
        for modality, status, seeds in (
            ("image", "confirmed", 3),
            ("video", "confirmed", 1),
            ("waveform", "not run", 0),
        )
    ]
    monkeypatch.setattr(systems, "last_run", lambda _: (Path("runs"), [{}]))
    monkeypatch.setattr(systems, "judge", lambda *_: actual)
    assert "image: confirmed; video: confirmed (1 seed); waveform: not run" in systems_text()


@pytest.mark.slow
def test_a_statement_is_concluded_from_the_newest_run_of_its_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closed forms of statement-f9, on few clips, with the claims that are about them."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (f9,) = (system for system in FURTHER if system.id == "F9")
    assert systems._concluded(f9, None, everywhere=False) == []
    table = tomllib.loads((Path(systems.__file__).parent / "suites" / "statement-f9.toml").read_text())
    table |= {"seeds": [0], "tokenizers": [entry for entry in table["tokenizers"] if entry["recipe"] == "pca"]}
    table["data"] |= {"samples": 64, "val": 32}
    (claim,) = table["claims"]
    claim["comparisons"] = [c for c in claim["comparisons"] if c["left"] == "frames"]
    assert run_suite(table, out=tmp_path / "runs" / "f9", engine="inline").failed == 0
    first, *rest = systems._concluded(f9, None, everywhere=False)
    assert first == "video: confirmed (1 seed)"
    assert len(rest) == 3
    assert "psnr: frames below clips, by -" in rest[1]
    assert "temporal_error: frames above clips, by -" in rest[2]
    assert rest[2].endswith("not confirmed (for information)")
    assert "video: confirmed (1 seed)" in systems_text()


def test_its_options_are_for_systems_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "nets", "--format", "md"]) == 2
    assert "latentbench list systems" in capsys.readouterr().err


@pytest.mark.slow
def test_the_suite_has_every_cell_that_a_claim_compares(plan: Plan) -> None:
    seeds: dict[tuple[str, str], set[int]] = {}
    for planned in plan.cells:
        seeds.setdefault((planned.cell.data.label, planned.cell.label), set()).add(planned.cell.seed)
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            right = comparison.right
            labels = {
                comparison.left,
                *(right if isinstance(right, tuple) else [right] if isinstance(right, str) else []),
            }
            modalities = comparison.modalities or tuple(Modality)
            data = {planned.cell.data.label for planned in plan.cells if planned.cell.data.modality in modalities}
            where = [d for d in data if all((d, label) in seeds for label in labels)]
            assert where, f"{claim.id}: no data set has {labels}"
            enough = [d for d in where if all(len(seeds[d, label]) >= 3 for label in labels)]
            once = set(comparison.modalities) <= {"video", "spectrogram"} and comparison.modalities  # as the suite says
            assert enough or once, f"{claim.id}: one seed of {labels}"


def test_grids_of_equal_bits_are_compared_on_every_data_set(plan: Plan) -> None:
    """A claim "at the same bits" whose cells have others by their making would be refuted before anything ran."""
    bits = {(p.cell.data.label, p.cell.label): p.cell.tokenizer.spec.bits_per_sample for p in plan.cells}
    data = {p.cell.data.label: p.cell.data.modality for p in plan.cells}
    tested = 0
    for claim in CLAIMS:
        for comparison in claim.comparisons:
            if (comparison.metric, comparison.right_metric) != ("bits_per_sample", ""):
                continue
            for name, modality in data.items():
                pair = [(name, str(label)) for label in (comparison.left, comparison.right)]
                if modality in (comparison.modalities or Modality) and all(cell in bits for cell in pair):
                    assert bits[pair[0]] == pytest.approx(bits[pair[1]]), (claim.id, name)
                    tested += 1
    assert tested >= 4


def test_every_recipe_has_a_cell_in_each_of_its_modalities(plan: Plan) -> None:
    actual = {(planned.cell.recipe, planned.cell.data.modality) for planned in plan.cells}
    expected = {(name, modality) for name in recipe_names() for modality in load_recipe(name).modalities}
    assert actual == expected


def test_the_list_has_every_system_once() -> None:
    adapters = {"A21"}  # of others' tokenizers nothing is claimed
    ids = [claim.id for claim in CLAIMS]
    assert [id for id in ids if id[0] != "F"] == [id for id in IDS if id[0] in "AB" and id not in adapters]
    assert {id for id in ids if id[0] == "F"} <= {system.id for system in FURTHER if system.statement}
    assert all(claim.claim and claim.name for claim in CLAIMS)


def test_a_run_is_judged_by_the_claims_that_it_was_run_with(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_suite("systems", [])
    assert claims_of(tmp_path) == claims_of(None) == CLAIMS
    store.write_suite("systems", [], claims=[asdict(claim) for claim in CLAIMS[1:3]])
    assert claims_of(tmp_path) == CLAIMS[1:3]
    store.write_suite("systems", [], claims=[{**asdict(CLAIMS[0]), "colour": 1}])
    with pytest.raises(UserError, match=r"suites/systems\.json: claims\[0\]: colour: unknown key"):
        claims_of(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"comparisons": []}, "at least one must count"),
        ({"claims": "x"}, r"claims\[0\]: claims: unknown key; did you mean 'claim'"),
        ({"name": 3}, r"claims\[0\]: name: "),
    ],
)
def test_a_claim_is_checked_with_its_suite(change: dict[str, Any], message: str) -> None:
    good = asdict(CLAIMS[0])
    assert load_suite({**TINY, "claims": [good]}).claims == CLAIMS[:1]
    with pytest.raises(UserError, match=message):
        load_suite({**TINY, "claims": [{**good, **change}]})
    with pytest.raises(UserError, match="'A1' is given twice"):
        load_suite({**TINY, "claims": [good, good]})


def test_claims_are_in_no_jobs_key() -> None:
    with_claims, without = (make_plan(load_suite({**TINY, "claims": c}), {}).jobs for c in ([asdict(CLAIMS[0])], []))
    assert list(with_claims) == list(without)


def test_every_recipe_names_a_known_system() -> None:
    known = {claim.id for claim in CLAIMS}
    for name in recipe_names():
        assert set(load_recipe(name).systems) <= known, name
