"""Scores on masked signals, against PSNRs computed another way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from latentbench.tasks.probes.corrupted_input import corruption_scores, drawn_mask
from latentbench.tokenizers.interface import Latents


def test_each_region_has_its_own_psnr() -> None:
    x, back = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    keep = torch.ones(2, 1, 8, 8)
    keep[:, :, :4] = 0
    scores = corruption_scores(x, keep, back)
    for i in range(2):
        whole, hidden, seen = x[i].numpy(), x[i, :, :4].numpy(), x[i, :, 4:]
        psnr = peak_signal_noise_ratio(whole, back[i].numpy(), data_range=2)
        assert float(scores["psnr_corrupted"][i]) == pytest.approx(psnr, rel=1e-5)
        inside = peak_signal_noise_ratio(hidden, back[i, :, :4].numpy(), data_range=2)
        assert float(scores["psnr_inpainted"][i]) == pytest.approx(inside, rel=1e-5)
        mean = seen.mean((1, 2), keepdim=True).expand(3, 4, 8)
        filled = peak_signal_noise_ratio(hidden, mean.numpy(), data_range=2)
        assert float(scores["psnr_mean_fill"][i]) == pytest.approx(filled, rel=1e-5)
        assert float(scores["inpainting_gain"][i]) == pytest.approx(inside - filled, abs=1e-4)


def test_masks_belong_to_samples_not_to_batches() -> None:
    x = torch.zeros(6, 3, 16, 16)
    whole = drawn_mask(0, list(range(6)), x, [4, 4])
    assert torch.equal(whole[2:4], drawn_mask(0, [2, 3], x[:2], [4, 4]))
    assert not torch.equal(whole, drawn_mask(1, list(range(6)), x, [4, 4]))
    hidden = (whole == 0).flatten(1).sum(1)
    assert hidden.tolist() == [5 * 16] * 6  # round(0.3 x 16) patches of 4 x 4


def test_one_who_knows_the_signal_inpaints_it(toys: SimpleNamespace, probed: Any, measured: Any) -> None:
    data = toys.Data()
    probe_input = probed(toys.Identity(), data)
    plain = measured("corrupted_input", probe_input)
    assert plain["inpainting_gain"].value < 0.1  # the holes stay zeros: about the mean of these signals

    class Oracle(toys.Identity):  # type: ignore[misc,name-defined]
        """Finds the signal by what is left of it."""

        def encode(self, signal: torch.Tensor) -> Latents:
            seen = signal != 0
            apart = ((data.val.data[None] - signal[:, None]).abs() * seen[:, None]).flatten(2).sum(2)
            return Latents(values=data.val.data[apart.argmin(1)])

    known = measured("corrupted_input", probe_input.__class__(**{**vars(probe_input), "tokenizer": Oracle()}))
    assert known["psnr_inpainted"].value == pytest.approx(100)
    assert known["psnr_mean_fill"].value == pytest.approx(plain["psnr_mean_fill"].value)
    assert known["psnr_corrupted"].n == 20
