"""The layout in memory of convolutions: what it is on a device, and that it changes no number on a CPU by itself."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from latentbench.tokenizers.backbones.conv_config import ConvConfig
from latentbench.tokenizers.memory_format import GroupNorm, Layout, format_of, resolved, set_format
from latentbench.tokenizers.spec import Modality, SignalSpec

LAST = torch.channels_last
CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


class Judge(nn.Module):
    """Lays out by itself what it reads."""

    own_layout = True

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1).to(memory_format=LAST)

    def forward(self, x: Tensor) -> Tensor:
        judged: Tensor = self.conv(x.contiguous(memory_format=LAST))
        return judged


class Net(nn.Module):
    """Some convolutions of the library's own, between a stranger's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
        config = ConvConfig(width=8)
        self.encoder, self.decoder = config.build_encoder(signal, (4, 4)), config.build_decoder(signal, (4, 4))
        self.theirs = nn.Conv2d(3, 8, 3, padding=1)
        self.judge = Judge()

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.theirs(self.decoder(self.encoder(x).contiguous())))


class Watch:
    """The layouts that convolutions read: x and weights."""

    def __init__(self, model: nn.Module) -> None:
        self.read: list[tuple[bool, bool]] = []
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("judge"):
                module.register_forward_pre_hook(self._see)

    def _see(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        weight = module.get_parameter("weight")
        self.read.append((inputs[0].is_contiguous(memory_format=LAST), weight.is_contiguous(memory_format=LAST)))


@pytest.mark.parametrize(
    ("chosen", "device", "bfloat16", "layout"),
    [
        ("auto", CPU, False, None),
        ("auto", CPU, True, None),
        ("auto", CUDA, True, "channels_last"),
        ("auto", CUDA, False, "contiguous"),
        ("contiguous", CUDA, True, "contiguous"),
        ("channels_last", CPU, False, "channels_last"),
    ],
)
def test_the_device_and_the_precision_decide(chosen: str, device: torch.device, bfloat16: bool, layout: str) -> None:
    assert resolved(chosen, device, bfloat16=bfloat16) == layout  # type: ignore[arg-type]


def test_what_convolutions_read_has_the_layout_that_was_set() -> None:
    x, numbers, net = torch.randn(2, 3, 16, 16), [], Net()
    parameters = [*net.parameters()]
    assert format_of(net) == "both"  # as the parts have it
    for layout in ("channels_last", "contiguous"):
        set_format(net, layout)  # type: ignore[arg-type]
        assert format_of(net) == layout
        assert net.judge.conv.weight.is_contiguous(memory_format=LAST)
        watch = Watch(net)
        loss = net(x).square().mean()
        numbers.append([loss, *torch.autograd.grad(loss, parameters)])
        assert {first for first, _ in watch.read} == {layout == "channels_last"}
        assert len(watch.read) > 5
        assert format_of(copy.deepcopy(net)) == layout  # a training's probe has it too
    assert all(now is before for now, before in zip(net.parameters(), parameters, strict=True))  # as optimisers need
    for one, other in zip(*numbers, strict=True):
        torch.testing.assert_close(one, other)


def test_group_norm_keeps_its_inputs_layout_where_torch_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    norm, torchs = GroupNorm(2, 4), nn.GroupNorm(2, 4)
    x = torch.randn(3, 4, 5, 5)
    for item in (x, x.contiguous(memory_format=LAST), x[..., :1], torch.randn(3, 4, 5), torch.randn(2, 4, 3, 2, 2)):
        assert torch.equal(norm(item), torchs(item))
        assert norm(item).stride() == torchs(item).stride()  # on a CPU, as ever
    plain = nn.GroupNorm.forward
    monkeypatch.setattr(nn.GroupNorm, "forward", lambda self, x: plain(self, x).contiguous())  # as on a GPU
    assert norm(x.contiguous(memory_format=LAST)).is_contiguous(memory_format=LAST)
    assert norm(x).is_contiguous()
    clip = torch.randn(2, 4, 3, 2, 2).contiguous(memory_format=torch.channels_last_3d)
    assert norm(clip).is_contiguous(memory_format=torch.channels_last_3d)


def test_a_layout_of_other_ranks_is_none() -> None:
    sound, image = torch.randn(2, 5, 3).transpose(1, 2), torch.randn(2, 3, 4, 4)
    assert Layout(1)(sound) is sound
    assert Layout(2, channels_last=None)(image) is image
    net = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Linear(4, 4))
    set_format(net, "channels_last")
    assert format_of(net) == ""
