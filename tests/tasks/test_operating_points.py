"""Operating points in the reconstruction task."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentbench.tasks.config import ReconstructionConfig
from latentbench.tasks.distances import Reference
from latentbench.tasks.reconstruction import reconstruct
from latentbench.tokenizers.interface import Latents

CPU = torch.device("cpu")


def result(toys: SimpleNamespace, folder: Path, tokenizer: Any, data: Any) -> Any:
    net = toys.Pixels()
    references = {"pixels": Reference.of(net(data.val.batch(np.arange(len(data.val)), CPU)), "val")}
    config = ReconstructionConfig(batch_size=7, rate=False)
    return reconstruct(tokenizer, data, config, toys.context(folder, net), references=references)


def stepped(toys: SimpleNamespace, signal: Any) -> Any:
    class Stepped(toys.Identity):  # type: ignore[misc,name-defined]
        """Decodes with an error of a tenth per step that is left out."""

        def operating_points(self) -> dict[str, Callable[[Latents], Tensor]]:
            return {f"steps_{n}": lambda z, n=n: z.values + 0.1 * (3 - n) for n in (1, 2, 3)}

    return Stepped(signal)


def test_each_point_has_its_distortion_and_distance(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data()
    data.val.data = data.val.data.clamp(-0.7, 0.7)
    done = result(toys, tmp_path, stepped(toys, toys.IMAGE), data)
    by_name = {metric.name: metric for metric in done.metrics}
    for n in (1, 2):
        expected = 20 * math.log10(2 / (0.1 * (3 - n)))
        assert by_name[f"psnr_steps_{n}"].value == pytest.approx(expected, abs=0.1)
        assert by_name[f"psnr_steps_{n}"].protocol.endswith(f"decoded at steps_{n}; validation split")
    assert by_name["psnr_steps_3"].value == by_name["psnr"].value
    assert by_name["rfd_pixels_steps_3"].value == pytest.approx(by_name["rfd_pixels"].value, abs=1e-9)
    assert by_name["rfd_pixels_steps_1"].value > by_name["rfd_pixels_steps_2"].value
    # What tables compare by: every sample's distortion, and the distances without each group of samples.
    by_sample = load_file(tmp_path / "values.safetensors")
    assert float(by_sample["psnr_steps_1"].mean()) == pytest.approx(by_name["psnr_steps_1"].value, rel=1e-6)
    assert done.extra["left_out"].keys() >= {f"rfd_pixels_steps_{n}" for n in (1, 2, 3)}
    assert done.extra["left_out"]["rfd_pixels_steps_3"] == pytest.approx(done.extra["left_out"]["rfd_pixels"], abs=1e-9)
    assert done.run["decode_seconds"].keys() == {"full", "steps_1", "steps_2", "steps_3"}
    assert all(seconds > 0 for seconds in done.run["decode_seconds"].values())


def test_without_points_nothing_changes(toys: SimpleNamespace, tmp_path: Path) -> None:
    data = toys.Data()
    plain = result(toys, tmp_path, toys.Identity(error=0.1), data)
    assert plain.run == {}
    with_points = result(toys, tmp_path, stepped(toys, toys.IMAGE), data)
    assert {m.name for m in plain.metrics} == {m.name for m in with_points.metrics if "_steps_" not in m.name}


def test_a_waveform_has_its_si_sdr_too(toys: SimpleNamespace, tmp_path: Path) -> None:
    from latentbench.tokenizers.spec import Modality, SignalSpec

    wave = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=8000.0)
    data = toys.Data(wave)
    net = toys.Pixels("rendered", reads="waveform")
    references = {"rendered": Reference.of(net(data.val.data), "val")}
    config = ReconstructionConfig(batch_size=7, rate=False)
    done = reconstruct(stepped(toys, wave), data, config, toys.context(tmp_path, net), references=references)
    names = {metric.name for metric in done.metrics}
    assert {"psnr_steps_1", "si_sdr_steps_1", "rfd_rendered_steps_1"} <= names
