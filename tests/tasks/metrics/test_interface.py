from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tasks.distances import Reference
from latentbench.tasks.metrics import measures, metrics
from latentbench.tasks.metrics.config import measure_versions
from latentbench.tasks.metrics.interface import PairMetric, SampleSet, per_position
from latentbench.tasks.scores import sample_scores
from latentbench.tokenizers.spec import Modality, SignalSpec

SHAPES = {Modality.IMAGE: (16, 16), Modality.VIDEO: (3, 16, 16), Modality.WAVEFORM: (4096,)}
OURS = ["mel_distance", "psnr", "si_sdr", "ssim", "stft_distance"]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("modality", SHAPES)
def test_every_metric_ranks_a_better_reconstruction_higher(
    name: str, modality: Modality, make_signal: Callable[..., SignalSpec]
) -> None:
    config, signal = metrics.get(name)(), make_signal(modality, SHAPES[modality], rate=16_000.0)
    if config.unsupported_reason(signal) is not None:
        assert modality not in config.modalities
        return
    metric: PairMetric = config.build()
    original = torch.rand(4, signal.channels, *signal.shape) - 0.5
    noise = torch.randn_like(original)
    good, bad = (metric.summary(metric.values(original + s * noise, original, signal), signal) for s in (0.05, 0.3))
    assert good.value is not None
    assert bad.value is not None
    assert (good.value > bad.value) == (config.direction == "higher")
    assert (good.name, good.n, good.missing, good.role) == (name, 4, 0, "distortion")
    assert good.protocol == bad.protocol != ""


def test_a_clip_counts_once_and_its_missing_frames_not_at_all(make_signal: Callable[..., SignalSpec]) -> None:
    values = torch.tensor([[1.0, 3.0], [math.nan, 5.0], [math.nan, math.nan]])
    summary = metrics.get("psnr")().build().summary(values, make_signal(Modality.VIDEO, SHAPES[Modality.VIDEO]))
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


def test_what_the_page_adds_works() -> None:
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        assert len(code.splitlines()) < 40
        exec(compile(code, "docs/metrics.md", "exec"), {"__name__": "docs_metrics"})
    net = SimpleNamespace(name="net", protocol="two numbers")
    reference = Reference.of(torch.zeros(3, 2), "train")
    samples = SampleSet(net=net, features=torch.ones(5, 2), reference=reference, splits={})
    (metric,), _ = sample_scores(("mean_shift",), samples)
    assert (metric.name, metric.value) == ("mean_shift_net", pytest.approx(2**0.5))


def test_every_measure_moves_keys_once_its_version_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    names = measures.names()
    before = measure_versions(*names)
    for name in names:
        monkeypatch.setattr(measures.get(name), "version", measures.version(name) + 1)
    assert measure_versions(*names) == {key: version + 1 for key, version in before.items()}
