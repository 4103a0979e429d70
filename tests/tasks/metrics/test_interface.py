from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.metrics import metrics
from latentbench.tasks.metrics.interface import PairMetric, per_position
from latentbench.tokenizers.spec import Modality, SignalSpec

SHAPES = {Modality.IMAGE: (16, 16), Modality.VIDEO: (3, 16, 16), Modality.WAVEFORM: (4096,)}
OURS = ["mel_distance", "psnr", "si_sdr", "ssim", "stft_distance"]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("modality", SHAPES)
def test_every_metric_ranks_a_better_reconstruction_higher(
    name: str, modality: Modality, make_signal: Callable[..., SignalSpec]
) -> None:
    cls: type[PairMetric] = metrics.get(name)
    signal = make_signal(modality, SHAPES[modality], rate=16_000.0)
    if modality not in cls.modalities:
        return
    assert cls.name == name
    metric = cls()
    original = torch.rand(4, signal.channels, *signal.shape) - 0.5
    noise = torch.randn_like(original)
    good, bad = (metric.summary(metric.values(original + s * noise, original, signal), signal) for s in (0.05, 0.3))
    assert good.value is not None
    assert bad.value is not None
    assert (good.value > bad.value) == (cls.direction == "higher")
    assert (good.name, good.n, good.missing) == (name, 4, 0)
    assert good.protocol == bad.protocol != ""


def test_a_clip_counts_once_and_its_missing_frames_not_at_all(make_signal: Callable[..., SignalSpec]) -> None:
    values = torch.tensor([[1.0, 3.0], [math.nan, 5.0], [math.nan, math.nan]])
    summary = metrics.get("psnr")().summary(values, make_signal(Modality.VIDEO, SHAPES[Modality.VIDEO]))
    assert (summary.value, summary.n, summary.missing) == (3.5, 2, 1)
    assert per_position(values) == [1.0, 4.0]


def test_unknown_names_suggest_their_neighbour() -> None:
    with pytest.raises(UserError, match="did you mean 'psnr'"):
        metrics.get("pnsr")


def test_listing_needs_no_torch() -> None:
    code = (
        "import sys; from latentbench.tasks.metrics import metrics; from latentbench.tasks.proxies import proxies;"
        "names = metrics.names() + proxies.names(); assert 'psnr' in names and 'viv' in names;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_the_documented_metric_works() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[-1]
    assert len(code.splitlines()) < 40
    exec(compile(code, "docs/metrics.md", "exec"), {"__name__": "docs_metrics"})
