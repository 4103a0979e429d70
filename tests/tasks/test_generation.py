"""The generation task with priors whose samples are given."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentbench.results.record import JobResult
from latentbench.tasks.config import GenerationConfig
from latentbench.tasks.distances import Reference
from latentbench.tasks.encoding import write_latents, write_statistics
from latentbench.tasks.generation import SAMPLES, generate, held_out
from latentbench.tasks.latents import LatentStore
from latentbench.tasks.metrics.frechet import FrechetReference, frechet_distance
from latentbench.tasks.statistics_file import EXTERNAL

CPU = torch.device("cpu")


@pytest.fixture
def store(toys: SimpleNamespace, tmp_path: Path) -> LatentStore:
    data, tokenizer = toys.Data(), toys.Identity()
    for name in ("train", "val"):
        write_latents(tokenizer, getattr(data, name), tmp_path, name, device=CPU, batch_size=16)
    write_statistics(tmp_path)
    return LatentStore.open(tmp_path, tokenizer.spec)


def normalised(store: LatentStore, values: torch.Tensor) -> torch.Tensor:
    """Values as a prior gives them."""
    mean, std = (moment.view(-1, 1, 1) for moment in store.moments[0])  # type: ignore[union-attr]
    return (values - mean) / std


def generated(
    toys: SimpleNamespace, folder: Path, store: LatentStore, samples: torch.Tensor, net: Any = None, **config: Any
) -> JobResult:
    data, net = toys.Data(), net or toys.Pixels()
    references = {net.name: Reference.of(net(data.train.data), "train")}
    prior = toys.Replay(toys.Identity().spec, samples)
    options = GenerationConfig(**{"samples": len(samples), "batch_size": 9} | config)
    return generate(prior, toys.Identity(), store, options, toys.context(folder, net), references=references)


def test_a_prior_that_repeats_the_data_is_at_no_distance(
    toys: SimpleNamespace, tmp_path: Path, store: LatentStore
) -> None:
    data = toys.Data().train.data
    frechet, kernel = generated(toys, tmp_path, store, normalised(store, data)).metrics
    assert (frechet.name, kernel.name) == ("gfd_pixels", "gkd_pixels")
    assert frechet.value == pytest.approx(0, abs=1e-6)
    assert "reference: train split" in frechet.protocol
    shifted = generated(toys, tmp_path, store, normalised(store, data) + 1).metrics[0]
    assert shifted.value > 0.5  # type: ignore[operator]


def test_the_floor_is_what_held_out_data_have(toys: SimpleNamespace, tmp_path: Path, store: LatentStore) -> None:
    data, net = toys.Data(), toys.Pixels()
    train, val = (Reference.of(net(split.data), name) for name, split in (("train", data.train), ("val", data.val)))
    context = replace(toys.context(tmp_path, net), references={("pixels", "train"): train, ("pixels", "val"): val})
    prior = toys.Replay(toys.Identity().spec, normalised(store, data.val.data[:10]))
    options = GenerationConfig(samples=10, batch_size=10)
    result = generate(prior, toys.Identity(), store, options, context, references={"pixels": train})
    _, _, floor = result.metrics
    assert (floor.name, floor.n, floor.direction) == ("fd_floor_pixels", 10, "none")
    spread = val.features[torch.arange(10) * len(val.features) // 10]
    assert floor.value == pytest.approx(frechet_distance(spread, train.frechet))
    assert "reference: train split; signals of the val split" in floor.protocol


def test_a_files_reference_stands_for_the_splits(toys: SimpleNamespace, tmp_path: Path, store: LatentStore) -> None:
    """Distances are to it; the floor is of the validation split alone; scores that need own splits keep them."""
    data, net = toys.Data(), toys.Pixels()
    train, val = (Reference.of(net(split.data), name) for name, split in (("train", data.train), ("val", data.val)))
    moments = FrechetReference.of_moments(val.frechet.mean + 1, val.frechet.covariance, n=0)
    file = Reference(split=EXTERNAL, frechet=moments, source="statistics 0123abcd")
    references = {("pixels", "train"): train, ("pixels", "val"): val, ("pixels", EXTERNAL): file}
    context = replace(toys.context(tmp_path, net), references=references)
    prior = toys.Replay(toys.Identity().spec, normalised(store, data.train.data[:20]))
    options = GenerationConfig(samples=20, batch_size=10)
    result = generate(prior, toys.Identity(), store, options, context, references={"pixels": train})
    fd, kd, floor = result.metrics
    assert fd.value == pytest.approx(frechet_distance(net(data.train.data[:20]), moments), rel=1e-4)
    assert fd.value > 1
    assert kd.value is None
    assert "reference: statistics 0123abcd; signals of the val split" in floor.protocol


def test_the_time_that_sampling_takes_stands_apart(toys: SimpleNamespace, tmp_path: Path, store: LatentStore) -> None:
    run = generated(toys, tmp_path, store, normalised(store, toys.Data().train.data[:20])).run
    assert run.keys() == {"sample_seconds", "decode_seconds", "samples_per_second"}
    assert run["samples_per_second"] > 0


def test_samples_are_denormalised_decoded_and_kept(toys: SimpleNamespace, tmp_path: Path, store: LatentStore) -> None:
    data = toys.Data().train.data[:20]
    generated(toys, tmp_path, store, normalised(store, data), keep=11)
    stored = load_file(tmp_path / SAMPLES)["samples"]
    assert stored.shape == (11, 3, 16, 16)
    assert torch.allclose(stored, data[:11], atol=1e-5)


def test_none_are_kept_on_request(toys: SimpleNamespace, tmp_path: Path, store: LatentStore) -> None:
    generated(toys, tmp_path, store, torch.zeros(10, 3, 16, 16), keep=0)
    assert not (tmp_path / SAMPLES).exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_prior_has_no_score(toys: SimpleNamespace, tmp_path: Path, store: LatentStore, value: float) -> None:
    samples = torch.zeros(20, 3, 16, 16)
    samples[3, 0, 0, 0] = samples[17, 2, 5, 5] = value
    with pytest.raises(RuntimeError, match=r"^2 of 20 samples are not finite: the prior or the decoder diverged$"):
        generated(toys, tmp_path, store, samples)
    assert not (tmp_path / SAMPLES).exists()


def test_with_inception_it_is_gfid(toys: SimpleNamespace, tmp_path: Path, store: LatentStore) -> None:
    result = generated(toys, tmp_path, store, torch.zeros(10, 3, 16, 16), net=toys.Pixels("inception"))
    assert [metric.name for metric in result.metrics] == ["gfid", "gkid"]


def test_held_out_scores_are_means_over_the_split(toys: SimpleNamespace, store: LatentStore) -> None:
    spec = toys.Identity().spec
    prior = toys.Replay(spec, torch.zeros(2, 3, 16, 16))
    bits, per_element, loss = held_out(prior, store.val, spec, CPU)
    # sample i has 768 (1 + i) bits, and 768 elements
    assert (bits.name, bits.value, bits.n, bits.unit) == ("nll_bits", 768 * 10.5, 20, "bit")
    assert (per_element.name, per_element.value, per_element.unit) == ("nll_bits_per_element", 10.5, "bit")
    assert (loss.name, loss.value, loss.unit) == ("loss", 9.5, "")
    assert per_element.se == pytest.approx(math.sqrt(sum((i - 9.5) ** 2 for i in range(20)) / 19 / 20))
    assert all(
        metric.direction == "lower" and "validation split" in metric.protocol for metric in (bits, per_element, loss)
    )


def test_sampling_goes_on_where_it_was_ended(
    toys: SimpleNamespace, tmp_path: Path, store: LatentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.tasks.chunks.SECONDS", 0.0)
    samples = normalised(store, toys.Data().train.data)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    expected = generated(toys, whole, store, samples)

    class Ends(toys.Pixels):  # type: ignore[misc, name-defined]
        left = 5

        def forward(self, signal: torch.Tensor) -> torch.Tensor:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().forward(signal)  # type: ignore[no-any-return]

    net = Ends()
    net.left = 4  # the reference's, then three batches of nine
    with pytest.raises(KeyboardInterrupt):
        generated(toys, parts, store, samples, net)
    net.left = 4  # the reference's, and the three batches that are missing
    again = generated(toys, parts, store, samples, net)
    assert net.left == 0
    assert again.metrics == expected.metrics
    assert (parts / SAMPLES).read_bytes() == (whole / SAMPLES).read_bytes()


def test_numbers_do_not_depend_on_the_batch(toys: SimpleNamespace, tmp_path: Path, store: LatentStore) -> None:
    samples = normalised(store, toys.Data().train.data)
    results = []
    for size in (5, 48):
        (tmp_path / str(size)).mkdir()
        results.append(generated(toys, tmp_path / str(size), store, samples, batch_size=size).metrics)
    for one, other in zip(*results, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-5, abs=1e-9)
