"""From a suite to its cells."""

from __future__ import annotations

from typing import Any

import pytest

from latentbench.bench.grid import cells, shown
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.tokenizers.spec import Modality

DATA = [
    {"name": "pictures", "modality": "image", "size": 16},
    {"name": "clips", "modality": "video", "size": 16, "frames": 8},
    {"name": "tones", "modality": "waveform", "sample_rate": 8000, "seconds": 0.512},
]


def names(**suite: Any) -> list[str]:
    suite = {"name": "s", "data": DATA[:1]} | suite
    return [cell.name for cell in cells(load_suite(suite))]


def test_cells_are_data_x_tokenizers_x_points_x_seeds() -> None:
    entry = {"recipe": "vq-vae", "grid": {"downsample": [2, 4], "codebook_size": [64, 128, 256]}}
    chosen = names(tokenizers=[entry, {"recipe": "kl-vae", "tsr": 12}], seeds=[0, 1])
    assert len(chosen) == 2 * (2 * 3 + 1)
    assert len(set(chosen)) == len(chosen)
    assert chosen[0] == "pictures vq-vae downsample=2 codebook_size=64 seed=0"
    assert chosen[1] == "pictures vq-vae downsample=2 codebook_size=64 seed=1"
    assert chosen[-1] == "pictures kl-vae seed=1"


def test_an_axis_may_take_lists_and_dotted_options() -> None:
    entry = {"recipe": "kl-vae", "channels": 4, "grid": {"downsample": [[2, 4], [4, 4], 2], "bottleneck.beta": [1e-3]}}
    chosen = cells(load_suite({"name": "s", "data": DATA[:1], "tokenizers": [entry]}))
    assert [cell.tokenizer.downsample for cell in chosen] == [(2, 4), (4, 4), (2, 2)]
    assert [cell.axes["downsample"] for cell in chosen] == ["2x4", 4, 2]
    assert {cell.tokenizer.bottleneck.beta for cell in chosen} == {1e-3}  # type: ignore[attr-defined]
    assert chosen[0].name == "pictures kl-vae downsample=2x4 bottleneck.beta=0.001 seed=0"


@pytest.mark.parametrize(("tsr", "downsample", "channels"), [(12, 4, 4), (24, 4, 2), (48, 4, 1), (3, 2, 4), (12, 2, 1)])
def test_tsr_is_solved_for_channels(tsr: float, downsample: int, channels: int) -> None:
    entry = {"recipe": "kl-vae", "downsample": downsample, "grid": {"tsr": [tsr]}}
    (cell,) = cells(load_suite({"name": "s", "data": DATA[:1], "tokenizers": [entry]}))
    assert cell.tokenizer.spec.grid.channels == channels
    assert cell.tokenizer.spec.tsr == tsr == 3 * 16 * 16 / (channels * (16 // downsample) ** 2)
    assert cell.to_json()["tsr"] == tsr


def test_an_impossible_point_names_itself() -> None:
    with pytest.raises(
        UserError, match=r"tokenizers\[0\] \(downsample=4, tsr=13\)\.tsr: .*nearest possible: 16 .* or 12 "
    ):
        names(tokenizers=[{"recipe": "kl-vae", "grid": {"downsample": [4], "tsr": [12, 13]}}])


def test_options_are_laid_over_the_suite_s_training() -> None:
    suite = {
        "name": "s",
        "data": DATA[:1],
        "training": {"steps": 7, "lr": 0.5},
        "tokenizers": [{"recipe": "kl-vae", "tsr": 12, "training": {"lr": 0.25}, "grid": {"training.batch_size": [3]}}],
    }
    (cell,) = cells(load_suite(suite))
    training = cell.tokenizer.training
    assert (training.steps, training.lr, training.batch_size) == (7, 0.25, 3)


def test_a_prior_s_options_are_judged_with_those_they_are_laid_over() -> None:
    """A guidance needs classes, which the suite or the entry may have; and neither has them: refused, where it is."""
    entry: dict[str, Any] = {"recipe": "kl-vae", "tsr": 12}
    axis = {"grid": {"prior.flow.guidance": [1.0, 2.0]}}
    suite: dict[str, Any] = {"name": "s", "data": DATA[:1], "tasks": ["reconstruction", "generation"]}
    of_all = suite | {"prior": {"flow": {"classes": 3}}}
    assert len(cells(load_suite(of_all | {"tokenizers": [entry | axis]}))) == 2
    assert len(cells(load_suite(suite | {"tokenizers": [entry | axis | {"prior": {"flow": {"classes": 3}}}]}))) == 2
    assert len(cells(load_suite(of_all | {"tokenizers": [entry | {"prior": {"flow": {"guidance": 2.0}}}]}))) == 1
    with pytest.raises(UserError, match=r"\(prior.flow.guidance=2.0\)\.prior\.flow: guidance needs classes"):
        cells(load_suite(suite | {"tokenizers": [entry | axis]}))
    with pytest.raises(UserError, match=r"tokenizers\[0\]\.prior\.flow: guidance needs classes"):
        load_suite(suite | {"tokenizers": [entry | {"prior": {"flow": {"guidance": 2.0}}}]})


def test_filters_by_modality_and_data_set() -> None:
    def chosen(**options: Any) -> list[tuple[str, str]]:
        entry = {"recipe": "kl-vae", "channels": 4} | options
        return [
            (c.data.label, c.data.modality)
            for c in cells(load_suite({"name": "s", "data": DATA, "tokenizers": [entry]}))
        ]

    everything = [("pictures", Modality.IMAGE), ("clips", Modality.VIDEO), ("tones", Modality.WAVEFORM)]
    assert chosen() == everything
    assert chosen(modalities=["video", "waveform"]) == everything[1:]
    assert chosen(data=["tones"]) == everything[2:]
    assert chosen(data=["tones", "clips"], modalities=["video"]) == everything[1:2]


def test_labels_tell_entries_of_one_recipe_apart() -> None:
    same = {"recipe": "kl-vae", "channels": 4}
    assert names(tokenizers=[same, same | {"width": 8}]) == ["pictures kl-vae seed=0", "pictures kl-vae width=8 seed=0"]
    assert names(tokenizers=[same, same | {"label": "wide"}]) == ["pictures kl-vae seed=0", "pictures wide seed=0"]
    # entries that never meet on a data set need no number
    apart = [same | {"modalities": ["image"]}, same | {"modalities": ["video"]}]
    assert names(data=DATA[:2], tokenizers=apart) == ["pictures kl-vae seed=0", "clips kl-vae seed=0"]


def test_shown() -> None:
    assert [shown(x) for x in (4, [2, 4, 4], [4, 4], "a", (1.5,))] == [4, "2x4x4", 4, "a", 1.5]
