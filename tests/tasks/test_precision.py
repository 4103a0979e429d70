"""Precision of evaluation: where it holds, that results are float32, and that it stays inside."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from latentbench.tasks.interface import FeatureNet
from latentbench.tasks.precision import computing_in, set_precision
from latentbench.tokenizers.build import build
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec

CPU = torch.device("cpu")
IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))


class Seen(FeatureNet):
    """A linear net that notes in which type it computed."""

    name, dim, protocol = "seen", 4, "linear"

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(768, 4)
        self.types: list[torch.dtype] = []
        self.tf32: list[bool] = []

    def forward(self, signal: Tensor) -> Tensor:
        self.tf32.append(torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32)
        features: Tensor = self.linear(signal.flatten(1))
        self.types.append(features.dtype)
        return features


@pytest.mark.parametrize(
    ("precision", "dtype", "tf32"),
    [("float32", torch.float32, False), ("tf32", torch.float32, True), ("bfloat16", torch.bfloat16, False)],
)
def test_a_net_computes_in_it_and_returns_float32(precision: str, dtype: torch.dtype, tf32: bool) -> None:
    net = set_precision(Seen(), precision, CPU)  # type: ignore[arg-type]
    with computing_in("float32", CPU):  # as `collect` has it
        features = net(torch.randn(2, 3, 16, 16))
    assert (net.types, net.tf32, features.dtype) == ([dtype], [tf32], torch.float32)
    assert not torch.is_autocast_enabled("cpu")


def test_flags_are_put_back_after_an_error() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), computing_in("tf32", CPU):
        raise KeyError
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def _tokenizers() -> Mapping[str, nn.Module]:
    config = resolve("rvq", IMAGE, {"width": 8, "downsample": 4, "levels": 2, "codebook_size": 16})
    made = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        tokenizer = build(config).eval()
        with torch.no_grad():
            for parameter in tokenizer.parameters():  # the last layers begin at zero
                parameter.add_(0.05 * torch.randn_like(parameter))
        made[precision] = set_precision(tokenizer, precision, CPU)  # type: ignore[arg-type]
    return made


@torch.inference_mode()
def test_a_tokenizer_and_its_operating_points_compute_in_it() -> None:
    """The decoder's rounding to 8 bits of mantissa shows, at 2^-9 or so of the values; what comes out is float32."""
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    exact, rounded = (tokenizer for tokenizer in _tokenizers().values())
    latents = exact.encode(x)  # type: ignore[operator]
    decodes = [(exact.decode, rounded.decode)]
    points = exact.operating_points(), rounded.operating_points()  # type: ignore[operator]
    assert points[0].keys() == points[1].keys() == {"depth_1", "depth_2"}
    decodes += [(points[0][name], points[1][name]) for name in points[0]]
    for plain, low in decodes:
        a, b = plain(latents), low(latents)  # type: ignore[operator]
        assert a.dtype == b.dtype == torch.float32
        error = float((a - b).norm() / a.norm())
        assert 1e-5 < error < 3e-2
    encoded = rounded.encode(x)  # type: ignore[operator]
    assert (encoded.values.dtype, encoded.codes.dtype) == (torch.float32, torch.int64)
