"""Suite files: what is read, and every message about what can't be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite, suite_names
from latentbench.results.errors import UserError
from latentbench.tokenizers.spec import Modality

Suite = dict[str, Any]


def refusal(suite: Any, *sets: str) -> str:
    """The one line with which the suite is refused."""
    with pytest.raises(UserError) as caught:
        make_plan(load_suite(suite, sets), {})
    text = str(caught.value)
    assert "\n" not in text
    return text


def kl(**options: Any) -> list[dict[str, Any]]:
    return [{"recipe": "kl-vae", "downsample": 4, "tsr": 12} | options]


MESSAGES: list[tuple[dict[str, Any], str]] = [
    # unknown names, with the nearest known one
    (
        {"tokenizers": kl(recipe="kl-vea")},
        "suite: tokenizers[0].recipe: unknown recipe 'kl-vea'; did you mean 'kl-vae'?",
    ),
    ({"tasks": ["generaton"]}, "suite: tasks[0]: unknown task 'generaton'; did you mean 'generation'?"),
    ({"features": ["inceptoin"]}, "suite: features[0]: unknown feature net 'inceptoin'; did you mean 'inception'?"),
    (
        {"modelability": {"proxies": ["vivv"]}},
        "suite: modelability.proxies[0]: unknown proxy 'vivv'; did you mean 'viv'?",
    ),
    ({"prior": {"name": "flwo"}}, "suite: prior: unknown prior 'flwo'; did you mean 'flow'?"),
    ({"data": {"source": "foler"}}, "suite: data[0].source: unknown data source 'foler'; did you mean 'folder'?"),
    (
        {"tokenizers": kl(data=["shaeps"])},
        "suite: tokenizers[0]: data[0]: unknown data set 'shaeps'; did you mean 'shapes'?",
    ),
    # misspelt keys, in every table
    ({"tokenisers": []}, "suite: unknown key 'tokenisers'; did you mean 'tokenizers'?"),
    ({"data": {"sise": 3}}, "suite: data[0]: sise: unknown key; did you mean 'size'?"),
    ({"tokenizers": [{"recipie": "kl-vae"}]}, "suite: tokenizers[0]: unknown key 'recipie'; did you mean 'recipe'?"),
    ({"tokenizers": kl(downsampel=4)}, "suite: tokenizers[0]: unknown key 'downsampel'; did you mean 'downsample'?"),
    (
        {"tokenizers": kl(training={"stepz": 1})},
        "suite: tokenizers[0].training: stepz: unknown key; did you mean 'steps'?",
    ),
    ({"training": {"stepz": 3}}, "suite: training: stepz: unknown key; did you mean 'steps'?"),
    ({"encoder": {"widht": 3}}, "suite: encoder: widht: unknown key; did you mean 'width'?"),
    ({"prior": {"nam": "flow"}}, "suite: prior: unknown key 'nam'; did you mean 'name'?"),
    ({"prior": {"training": {"stepz": 1}}}, "suite: prior.training: stepz: unknown key; did you mean 'steps'?"),
    ({"prior": {"ar": {"widht": 3}}}, "suite: prior.ar: widht: unknown key; did you mean 'width'?"),
    ({"generation": {"smaples": 3}}, "suite: generation: smaples: unknown key; did you mean 'samples'?"),
    ({"reconstruction": {"lpisp": "on"}}, "suite: reconstruction: lpisp: unknown key; did you mean 'lpips'?"),
    # wrong types
    ({"seeds": ["a"]}, 'suite: seeds[0]: input should be a valid integer, got "a"'),
    ({"seeds": 3}, "suite: seeds: input should be a valid array, got 3"),
    ({"name": 3}, "suite: name: input should be a valid string, got 3"),
    ({"training": {"steps": "3"}}, 'suite: training: steps: input should be a valid integer, got "3"'),
    ({"training": 3}, "suite: training: input should be an object, got 3"),
    ({"prior": {"flow": 3}}, "suite: prior.flow: expected a table, got 3"),
    ({"prior": {"name": 3}}, 'suite: prior.name: should be a prior\'s name or "auto", got 3'),
    ({"tokenizers": kl(tsr="a")}, "suite: tokenizers[0].tsr: expected a number > 0, got 'a'"),
    ({"tokenizers": kl(objective={"l1": 1})}, "suite: tokenizers[0].objective: this table is now called losses"),
    ({"tokenizers": kl(losses=3)}, "suite: tokenizers[0].losses: expected a table, got 3"),
    (
        {"tokenizers": kl(grid={"tsr": 12})},
        "suite: tokenizers[0]: grid.tsr: an axis is a non-empty list of values, got 12",
    ),
    (
        {"tokenizers": kl(grid={"tsr": []})},
        "suite: tokenizers[0]: grid.tsr: an axis is a non-empty list of values, got []",
    ),
    # values out of range, and things that stand twice
    ({"training": {"lr": -1}}, "suite: training: lr must be positive"),
    ({"generation": {"samples": 1}}, "suite: generation: samples must be at least 2"),
    ({"seeds": []}, "suite: seeds: needs at least one entry"),
    ({"data": []}, "suite: data: needs at least one entry"),
    ({"seeds": [0, 1, 0]}, "suite: seeds: 0 is given twice"),
    ({"data_seeds": {"shapes": [1, 1]}}, "suite: data_seeds.shapes: 1 is given twice"),
    ({"data_seeds": {"shapes": []}}, "suite: data_seeds.shapes: needs at least one seed"),
    ({"data_on_request": ["shapes", "shapes"]}, "suite: data_on_request: 'shapes' is given twice"),
    ({"data_on_request": ["shape"]}, "suite: data_on_request[0]: unknown data set 'shape'; did you mean 'shapes'?"),
    ({"data_seeds": {"shape": [1]}}, "suite: data_seeds: unknown data set 'shape'; did you mean 'shapes'?"),
    ({"tokenizers": kl(seeds=[2, 2])}, "suite: tokenizers[0]: seeds: 2 is given twice"),
    (
        {"tokenizers": kl(tasks=["probes"])},
        "suite: tokenizers[0]: tasks[0]: unknown task of the suite 'probes'; known: ",
    ),
    ({"probes": {"names": ["loses"]}}, "suite: probes.names[0]: unknown probe 'loses'; did you mean 'losses'?"),
    ({"probes": {"names": ["losses", "losses"]}}, "suite: probes.names: 'losses' is given twice"),
    ({"modelability": {"proxies": ["viv", "viv"]}}, "suite: modelability.proxies: 'viv' is given twice"),
    ({"probes": {"name": 3}}, "suite: probes: name: unknown key; did you mean 'names'?"),
    ({"tokenizers": kl(grid={"tsr": [12, 24, 12]})}, "suite: tokenizers[0]: grid.tsr: 12 is given twice"),
    ({"name": "a/b"}, "suite: name: must be usable as a file name, got 'a/b'"),
    (
        {"data": [{"name": "a"}, {"name": "a"}]},
        "suite: data[1]: a data set called 'a' is there already; give one a `name`",
    ),
    # what can't be
    (
        {"tokenizers": kl(tsr=11)},
        (
            "suite: tokenizers[0].tsr: tsr 11 needs 4.364 channels on 4x4 latent positions of a signal of 768 "
            "elements; nearest possible: 12 (4 channels) or 9.6 (5 channels)"
        ),
    ),
    (
        {"tokenizers": kl(grid={"downsample": [5]})},
        "suite: tokenizers[0] (downsample=5).downsample: downsample 5 does not",
    ),
    (
        {"tokenizers": kl(modalities=["video"])},
        "suite: no tokenizer fits any of the data sets (see `modalities` and `data`)",
    ),
    (
        {"features": ["yamnet"]},
        "suite: features[0]: yamnet serves waveform, spectrogram, and the suite has no such data",
    ),
    (
        {"prior": {"name": "ar"}},
        "suite: prior: prior 'ar' can't model these latents: it models codes, and these latents are",
    ),
]


@pytest.mark.parametrize(("change", "message"), MESSAGES, ids=[message[:60] for _, message in MESSAGES])
def test_a_mistake_is_one_line_that_says_what_and_where(mini: Suite, change: Suite, message: str) -> None:
    mini["tokenizers"] = kl()
    assert refusal(mini | change).startswith(message)


def test_a_modality_is_one_of_four(mini: Suite) -> None:
    message = refusal(mini | {"data": {"modality": "imge"}})
    assert (
        message
        == "suite: data[0]: modality: input should be 'image', 'video', 'waveform' or 'spectrogram', got \"imge\""
    )


def test_an_unknown_suite_suggests_its_neighbour() -> None:
    assert refusal("quikstart") == "unknown suite 'quikstart'; did you mean 'quickstart'?"


def test_a_missing_file_names_the_shipped_suites(tmp_path: Path) -> None:
    message = refusal(tmp_path / "none.toml")
    assert message.startswith(f"{tmp_path / 'none.toml'}: no such suite file; shipped suites: ")
    assert "quickstart" in message


def test_broken_toml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('name = "x"\n[data\n')
    assert (
        refusal(path) == f"{path}: not valid TOML: Expected ']' at the end of a table declaration (at line 2, column 6)"
    )


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"name = \xff\xfe")
    assert refusal(path).startswith(f"{path}: can't be read: ")


def test_a_file_s_own_name_stands_in_its_messages(tmp_path: Path, mini_file: Path) -> None:
    path = tmp_path / "typo.toml"
    path.write_text(mini_file.read_text() + "seed = 1\n")
    assert refusal(path) == f"{path}: unknown key 'seed'; did you mean 'seeds'?"


def test_absent_weights_are_refused_before_anything_runs(
    mini: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for change in ({"features": ["inception"]}, {"reconstruction": {"lpips": "on"}}):
        message = refusal(mini | change)
        assert "not found" in message
        assert str(tmp_path) in message  # where it was looked for


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("data.size=32", lambda s: s.data[0].size == 32),
        ("data.0.size=32", lambda s: s.data[0].size == 32),
        ("training.lr=1e-4", lambda s: s.training["lr"] == 1e-4),
        ("seeds=[1, 2]", lambda s: s.seeds == (1, 2)),
        ("tokenizers.0.grid.tsr=[12, 24]", lambda s: s.tokenizers[0].grid == {"tsr": (12, 24)}),
        ("tokenizers.training.steps=5", lambda s: all(t.options["training"] == {"steps": 5} for t in s.tokenizers)),
        ("tokenizers.1.codebook_size=128", lambda s: s.tokenizers[1].options["codebook_size"] == 128),
        ("tokenizers.1.grid.downsample=[[2, 4], 4]", lambda s: s.tokenizers[1].grid == {"downsample": ([2, 4], 4)}),
        ("data.path=my photos/a=b", lambda s: s.data[0].path == "my photos/a=b"),
        ("data.path=2024-01-01", lambda s: s.data[0].path == "2024-01-01"),
        ('data.name="12"', lambda s: s.data[0].label == "12"),
        ("reconstruction.rate=false", lambda s: s.options["reconstruction"].rate is False),
        ('tasks=["reconstruction"]', lambda s: s.tasks == ("reconstruction",)),
    ],
)
def test_set_reaches_every_key(mini: Suite, change: str, read: Callable[[Any], bool]) -> None:
    assert read(load_suite(mini, [change]))


def test_set_applies_in_order_and_leaves_the_mapping_alone(mini: Suite) -> None:
    assert load_suite(mini, ["data.size=32", "data.size=64"]).data[0].size == 64
    assert mini["data"]["size"] == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.path", "--set data.path: expected KEY=VALUE, such as --set data.path=photos"),
        ("=3", "--set =3: expected KEY=VALUE, such as --set data.path=photos"),
        ("data.1.size=3", "--set data.1.size=3: there are only 1 entries, counted from 0"),
        ("name.x=3", "--set name.x=3: 'x' lies below something that is no table"),
        ("trainig.steps=3", "suite: unknown key 'trainig'; did you mean 'training'?"),
        ("data.size=big", 'suite: data[0]: size: input should be a valid integer, got "big"'),
        ("training.steps=1e3", "suite: training: steps: input should be a valid integer, got 1000.0"),
        ("training.ema=nan", "suite: training: ema: input should be a finite number, got NaN"),
        ("training.ema=1.5", "suite: training: ema must lie in [0, 1]"),
    ],
)
def test_set_mistakes(mini: Suite, change: str, message: str) -> None:
    assert refusal(mini, change) == message


def test_the_shipped_suites_are_what_their_names_say() -> None:
    assert {"quickstart", "image-tsr-grid", "video-tsr-grid", "audio-tsr-grid"} <= set(suite_names())
    for name in suite_names():
        suite = load_suite(name)
        assert suite.name == name
        assert suite.description
    quickstart = make_plan(load_suite("quickstart"), {})
    for modality in Modality:
        cells = [planned.cell for planned in quickstart.cells if planned.cell.data.modality == modality]
        assert len({cell.recipe for cell in cells}) >= 2
        assert len({cell.tokenizer.spec.tsr for cell in cells}) >= 2


@pytest.mark.parametrize(
    ("modality", "tokenizers", "families"),
    [("image", 48, 8), ("waveform", 24, 8), ("spectrogram", 24, 8), ("video", 24, 8)],
)
def test_calibration_suites_spread_over_families_at_one_budget(modality: str, tokenizers: int, families: int) -> None:
    suite = load_suite(f"calibration-{modality}")
    plan = make_plan(suite, {data.label: "f" for data in suite.data})
    cells = [planned.cell for planned in plan.cells]
    labels = [cell.label for cell in cells if cell.seed == 0]
    assert len(labels) >= tokenizers
    assert len(set(labels)) >= families
    assert min(labels.count(label) for label in labels) >= 2
    assert len(cells) == 2 * len(labels)
    budgets = {job.config["options"]["training"]["flops"] for job in plan.jobs.values() if job.kind == "prior"}
    assert len(budgets) == 1
    assert budgets != {None}
    assert any(cell.tokenizer.scramble for cell in cells)


def test_suites_about_priors_share_tokenizers_and_budgets() -> None:
    def kinds(name: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for job in make_plan(load_suite(name), {}).jobs.values():
            counts[job.kind] = counts.get(job.kind, 0) + 1
        return counts

    for name, tokenizers, priors in (("latent-vs-signal", 9, 45), ("photo-priors", 6, 24), ("end-to-end", 12, 24)):
        counts = kinds(name)
        assert (counts["tokenizer"], counts["prior"], counts["generation"]) == (tokenizers, priors, priors), name
    plan = make_plan(load_suite("latent-vs-signal"), {})
    budgets: dict[str, set[float]] = {}
    for cell in plan.cells:
        budgets.setdefault(cell.cell.label, set()).add(plan.jobs[cell.jobs["prior"]].flops)
    assert len(budgets) == 5
    assert len(set(map(frozenset, budgets.values()))) == 1  # equal FLOPs, on pixels and on latents
    assert {cell.prior.kind for cell in plan.cells if cell.prior} == {"flow", "cascade", "unet", "ar"}
    photos = make_plan(load_suite("photo-priors"), {})
    assert {cell.prior.kind for cell in photos.cells if cell.prior} == {"ar", "maskgit", "flow", "mar"}
    assert len({cell.cell.tokenizer.spec.tsr for cell in photos.cells}) == 1


def test_priors_of_clips_differ_in_attention_and_condition_alone() -> None:
    plan = make_plan(load_suite("video-priors"), {})
    priors = [job for job in plan.jobs.values() if job.kind == "prior"]
    options = [job.config["options"] for job in priors]
    variants = {(o.get("attention", "full"), o.get("condition_frames", 0)) for o in options}
    assert variants == {(attention, count) for attention in ("full", "factorised") for count in (0, 1)}
    assert len(priors) == 24  # of 2 tokenizers, 3 seeds
    assert {o["training"]["flops"] for o in options} == {1e13}
    assert {cell.cell.tokenizer.spec.grid.shape for cell in plan.cells} == {(5, 8, 8)}
    patches = {cell.prior.patch_for(cell.cell.tokenizer.spec) for cell in plan.cells if cell.prior.kind == "flow"}
    assert patches == {(1, 1, 1)}  # frames are whole
