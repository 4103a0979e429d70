"""The backbone of neural codecs: equal to DAC's and EnCodec's of transformers, causal to the bit, local, priced."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.bench.flops import counter
from latentbench.results.errors import UserError
from latentbench.tokenizers.backbones.seanet import Snake
from latentbench.tokenizers.backbones.seanet_config import SEANetConfig
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import Modality, SignalSpec


def sound(samples: int = 640, channels: int = 1) -> SignalSpec:
    return SignalSpec(modality=Modality.WAVEFORM, channels=channels, shape=(samples,), rate=16000.0)


def halves(config: SEANetConfig, signal: SignalSpec, factor: int) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return config.build_encoder(signal, (factor,)).eval(), config.build_decoder(signal, (factor,)).eval()


def copy_weights(target: nn.Module, source: nn.Module) -> None:
    """The source's parameters into the target, one by one in the order of their use."""
    sources, targets = in_order(source), in_order(target)
    with torch.no_grad():
        for (name, parameter), (_, value) in zip(targets, sources, strict=True):
            assert parameter.numel() == value.numel(), (name, parameter.shape, value.shape)
            parameter.copy_(value.view_as(parameter))


def in_order(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Weights and biases of convolutions and the alphas of snakes, parametrisations taken off."""
    for child in module.modules():
        if nn.utils.parametrize.is_parametrized(child):
            nn.utils.parametrize.remove_parametrizations(child, "weight")
    result: list[tuple[str, Tensor]] = []
    for name, child in module.named_modules():
        if isinstance(child, nn.Conv1d | nn.ConvTranspose1d):
            assert child.bias is not None
            result += [(name, child.weight), (name, child.bias)]
        elif isinstance(getattr(child, "alpha", None), Tensor):  # ELU has one, too, a number
            result.append((name, child.alpha))
    return result


def test_snake() -> None:
    x = torch.linspace(-3, 3, 13).expand(1, 2, 13)
    snake = Snake(2)
    with torch.no_grad():
        snake.alpha.copy_(torch.tensor([[1.0], [2.5]]))
        value = snake(x)
    torch.testing.assert_close(value[0, 1], x[0, 1] + torch.sin(2.5 * x[0, 1]) ** 2 / 2.5)
    torch.testing.assert_close(value[0, 0], x[0, 0] + torch.sin(x[0, 0]) ** 2)


@pytest.mark.slow
def test_the_halves_are_dacs() -> None:
    """A second implementation: transformers' DAC with our weights (its last convolution has a tanh behind it)."""
    dac = pytest.importorskip("transformers.models.dac.modeling_dac")
    config = SEANetConfig(width=4, strides=(2, 4, 8))
    encoder, decoder = halves(config, sound(), 64)
    theirs = dac.DacConfig(encoder_hidden_size=4, downsampling_ratios=[2, 4, 8], decoder_hidden_size=32, hidden_size=32)
    other_encoder, other_decoder = dac.DacEncoder(theirs).eval(), dac.DacDecoder(theirs).eval()
    for module in (*encoder.modules(), *decoder.modules()):
        if isinstance(module, Snake):
            nn.init.uniform_(module.alpha, 0.5, 2.0)
    copy_weights(other_encoder, encoder)
    copy_weights(other_decoder, decoder)
    x = torch.randn(2, 1, 640)
    with torch.no_grad():
        features = encoder(x)
        assert features.shape == (2, 32, 10)
        torch.testing.assert_close(features, other_encoder(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(decoder(features).tanh(), other_decoder(features), rtol=1e-5, atol=1e-5)


def test_the_causal_halves_are_encodecs() -> None:
    """With ELU, bottlenecked units and causal padding: transformers' EnCodec, with zeros where it would reflect."""
    encodec = pytest.importorskip("transformers.models.encodec.modeling_encodec")
    config = SEANetConfig(
        width=4, strides=(2, 4, 5), dilations=(1,), kernel=3, compress=2, activation="elu", causal=True
    )
    encoder, decoder = halves(config, sound(), 40)
    theirs = encodec.EncodecConfig(
        num_filters=4,
        hidden_size=32,
        upsampling_ratios=[5, 4, 2],
        num_lstm_layers=1,
        use_causal_conv=True,
        pad_mode="constant",
        use_conv_shortcut=False,
        last_kernel_size=7,
    )
    other_encoder, other_decoder = encodec.EncodecEncoder(theirs).eval(), encodec.EncodecDecoder(theirs).eval()
    for other in (other_encoder, other_decoder):
        other.layers = nn.ModuleList(layer for layer in other.layers if "LSTM" not in type(layer).__name__)
    x = torch.randn(2, 1, 640)
    with torch.no_grad():
        # its last convolution before the latents has a kernel of 7, ours of 3: compare what comes before
        copy_weights(nn.ModuleList(other_encoder.layers[:-1]), encoder.layers[:-1])
        inner = encoder.layers[:-1](x)
        other = x
        for layer in other_encoder.layers[:-1]:
            other = layer(other)
        torch.testing.assert_close(inner, other, rtol=1e-5, atol=1e-5)
        copy_weights(other_decoder, decoder)
        torch.testing.assert_close(decoder(inner), other_decoder(inner), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["snake", "elu"])
def test_features_start_at_the_signals_scale(activation: str) -> None:
    """Else a bottleneck that rounds would see zeros alone."""
    config = SEANetConfig(width=16, activation=activation)  # type: ignore[arg-type]
    encoder, _ = halves(config, sound(), 320)
    with torch.no_grad():
        assert 0.3 < encoder(torch.randn(4, 1, 640)).std() < 3.0


@pytest.mark.parametrize("lstm", [0, 1])
def test_causal_is_causal_to_the_bit(lstm: int) -> None:
    """Latents, and samples decoded from them, that end before a change do not know of it."""
    encoder, decoder = halves(SEANetConfig(width=4, causal=True, lstm=lstm), sound(), 40)
    x = torch.randn(1, 1, 640)
    y = x.clone()
    y[..., 400:] += torch.randn(240)
    with torch.no_grad():
        before, after = encoder(x), encoder(y)
        assert torch.equal(before[..., :10], after[..., :10])
        assert not torch.equal(before[..., 10], after[..., 10])
        assert torch.equal(decoder(before)[..., :400], decoder(after)[..., :400])
        assert not torch.equal(decoder(before)[..., 400:440], decoder(after)[..., 400:440])


@pytest.mark.parametrize("causal", [False, True])
def test_one_latent_sees_the_receptive_field(causal: bool) -> None:
    config = SEANetConfig(width=4, dilations=(1, 3), causal=causal, strides=(2, 4))
    encoder, _ = halves(config, sound(1600), 8)
    x = torch.randn(1, 1, 1600, requires_grad=True)
    encoder(x)[0, :, 100].sum().backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()
    assert touched.max() - touched.min() + 1 == config.receptive_field((8,)) > 100
    if causal:
        assert touched.max() == 100 * 8 + 7


def test_pieces_with_a_margin_are_the_whole() -> None:
    config = SEANetConfig(width=4, strides=(2, 4))
    encoder, _ = halves(config, sound(4000), 8)
    x = torch.randn(1, 1, 4000)
    margin = -(-config.receptive_field((8,)) // 8)
    with torch.no_grad():
        piece = encoder(x[..., (200 - margin) * 8 : (300 + margin) * 8])[..., margin:-margin]
        torch.testing.assert_close(piece, encoder(x)[..., 200:300], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"activation": "elu", "compress": 2, "kernel": 3}, {"strides": (4, 10), "causal": True}, {"dilations": ()}],
)
def test_the_price_is_what_runs(options: dict[str, Any]) -> None:
    config, signal = SEANetConfig(width=4, **options), sound(640, channels=2)
    encoder, decoder = halves(config, signal, 40)
    x = torch.randn(1, 2, 640)
    for module, cost, given in (
        (encoder, config.encoder_cost(signal, (40,)), x),
        (decoder, config.decoder_cost(signal, (40,)), torch.randn(1, config.features(signal, (40,)), 16)),
    ):
        assert cost.parameters == sum(p.numel() for p in module.parameters())
        with torch.no_grad(), counter() as flops:
            module(given)
        assert cost.flops == pytest.approx(flops.get_total_flops())


def test_recurrent_layers_are_priced() -> None:
    signal, plain, recurrent = sound(), SEANetConfig(width=4), SEANetConfig(width=4, lstm=2)
    for which in ("encoder", "decoder"):
        module = getattr(recurrent, f"build_{which}")(signal, (40,))
        costs = [getattr(config, f"{which}_cost")(signal, (40,)) for config in (plain, recurrent)]
        assert costs[1].parameters == sum(p.numel() for p in module.parameters())
        width = recurrent.features(signal, (40,))
        # per step and layer: four gates of an input and a state, a multiply-add each
        assert costs[1].flops - costs[0].flops == 2 * 2 * (4 * 2 * width * width) * 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"width": 6, "compress": 4}, "compress must divide width, 6"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"stride": 1}, "stride must be at least 2"),
        ({"strides": (1, 4)}, "strides must be"),
        ({"dilations": (0,)}, "dilations must be"),
        ({"lstm": -1}, "lstm must be at least 0"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SEANetConfig(**options)


def test_strides_that_do_not_give_the_downsampling() -> None:
    table = {"downsample": 64, "backbone": {"kind": "seanet", "strides": [2, 4]}}
    with pytest.raises(UserError, match="strides 2 x 4 = 8 do not give downsample 64"):
        resolve("ae", sound(), table)


def test_pictures_are_refused() -> None:
    signal = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(16, 16))
    with pytest.raises(UserError, match="backbone: 'seanet' is for waveforms, not image; 'conv' and 'vit' are for all"):
        resolve("ae", signal, {"backbone": {"kind": "seanet"}})
