"""Long signals in pieces: what the whole gives, to rounding, in bounded memory; or one line that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.pieces import decode_long, decode_pieces, encode_long, encode_pieces
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.spec import MelSpec, Modality, SignalSpec

CLIP = SignalSpec(modality=Modality.VIDEO, channels=3, shape=(25, 8, 8), rate=8.0)
SOUND = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(24 * 64,), rate=8000.0)
SMALL = {"backbone": {"width": 8}}
# The largest difference between pieces and the whole, relative to the largest value.
ROUNDING = 1e-5

# Recipe, signal, further options: causal ones carry, of `dac` pieces overlap, the others have no neighbours in time.
CASES: list[tuple[str, SignalSpec, dict[str, Any]]] = [
    ("causal-video-vae", CLIP, SMALL),
    ("causal-video-vae", CLIP, {"backbone": {"width": 8, "stem": 1}, "downsample": [2, 4, 4]}),
    ("video-fsq", CLIP, {"backbone": {"width": 8, "factorised": True}}),
    ("framewise-vae", CLIP, SMALL),
    ("pca", CLIP, {"downsample": [5, 4, 4], "channels": 8}),
    ("encodec", SOUND, SMALL),
    ("encodec", SOUND, {"backbone": {"width": 8, "lstm": 1, "dilations": [1, 3]}}),
    ("dac", SOUND, {"backbone": {"width": 4, "dilations": [1, 3]}}),
    ("stable-audio-vae", SOUND, {"backbone": {"width": 4, "dilations": [1]}}),
]


def tokenizer_of(recipe: str, signal: SignalSpec, options: dict[str, Any]) -> Any:
    """With weights that are zero nowhere."""
    tokenizer: Any = build(resolve(recipe, signal, options))
    torch.manual_seed(1)
    for name, weight in tokenizer.named_parameters():
        if weight.is_floating_point() and weight.requires_grad and not weight.any():
            nn.init.normal_(weight, std=0.1)
        if name.startswith(("project", "decoder")) and weight.ndim == 1:
            nn.init.normal_(weight, std=0.1)
    return tokenizer.eval()


def draw(signal: SignalSpec) -> Tensor:
    return torch.tanh(torch.randn(2, signal.channels, *signal.shape))


def close(part: Tensor, whole: Tensor) -> bool:
    return float((part - whole).abs().max()) <= ROUNDING * float(whole.abs().max())


@pytest.mark.parametrize("positions", [2, 100])
@pytest.mark.parametrize(("recipe", "signal", "options"), CASES)
@torch.no_grad()
def test_pieces_are_the_whole(recipe: str, signal: SignalSpec, options: dict[str, Any], positions: int) -> None:
    tokenizer, x = tokenizer_of(recipe, signal, options), draw(signal)
    whole = tokenizer.encode(x)
    parts = encode_long(tokenizer, x, positions=positions)
    assert parts.values is not None
    assert close(parts.values, whole.values)
    if whole.codes is not None:
        assert parts.codes is not None
        assert torch.equal(parts.codes, whole.codes)
    decoded = tokenizer.decode(whole)
    assert close(decode_long(tokenizer, whole, positions=positions), decoded)
    if whole.codes is not None:  # a prior's samples are codes alone
        assert close(decode_long(tokenizer, Latents(codes=whole.codes), positions=positions), decoded)
    assert torch.equal(tokenizer.encode(x).values, whole.values)  # nothing is carried over to what follows


@pytest.mark.parametrize("recipe", ["causal-video-vae", "encodec", "dac"])
@torch.no_grad()
def test_pieces_cut_apart_have_seams_that_these_have_not(recipe: str) -> None:
    signal = CLIP if recipe == "causal-video-vae" else SOUND
    tokenizer, x = tokenizer_of(recipe, signal, {"backbone": {"width": 4}}), draw(signal)
    features = tokenizer.features(x)
    cut = 13 if signal is CLIP else 12 * 64
    after = tokenizer.features(x[:, :, cut - (signal is CLIP) :])  # the second piece alone
    size = after.shape[2] - (signal is CLIP)
    assert not close(after[:, :, -size:], features[:, :, -size:])


@torch.no_grad()
def test_a_stream_comes_in_pieces_of_any_lengths_and_two_may_run_at_once() -> None:
    tokenizer, x = tokenizer_of("causal-video-vae", CLIP, SMALL), draw(CLIP)
    y = draw(CLIP)

    def frames(clip: Tensor) -> Iterator[Tensor]:
        yield from clip.split([1, 7, 2, 11, 4], dim=2)

    streams = [encode_pieces(tokenizer, frames(clip), positions=2) for clip in (x, y)]
    decoded: list[list[Tensor]] = [[], []]
    for pair in zip(*streams, strict=True):
        assert [part.values.shape[2] for part in pair] in ([2, 2], [1, 1])  # type: ignore[union-attr]
        for latents, parts in zip(pair, decoded, strict=True):
            parts.append(latents.values)  # type: ignore[arg-type]
    for clip, parts in zip((x, y), decoded, strict=True):
        assert close(torch.cat(parts, dim=2), tokenizer.encode(clip).values)
    pieces = decode_pieces(tokenizer, (Latents(values=part) for part in decoded[0]), positions=3)
    assert [piece.shape[2] for piece in pieces] == [9, 12, 4]


@pytest.mark.parametrize("recipe", ["causal-video-vae", "encodec", "dac"])
def test_memory_is_that_of_a_piece(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of the tokenizer sees more than a piece and its context, however long the signal is."""
    signal = CLIP if recipe == "causal-video-vae" else SOUND
    tokenizer = tokenizer_of(
        recipe, signal, {"backbone": {"width": 4, **({} if signal is CLIP else {"dilations": [1]})}}
    )
    step = tokenizer.config.downsample[0]
    sizes: list[int] = []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda x: sizes.append(x.shape[2]) or encode(x))

    def endless(count: int) -> Iterator[Tensor]:
        yield torch.zeros(1, signal.channels, 1, *signal.shape[1:])
        for _ in range(count):
            yield torch.zeros(1, signal.channels, step, *signal.shape[1:])
        if signal is not CLIP:
            yield torch.zeros(1, signal.channels, step - 1)

    context = tokenizer.config.backbone.piece_geometry(signal, tokenizer.config.downsample).encoder
    count = sum(latents.values.shape[2] for latents in encode_pieces(tokenizer, endless(60), positions=4))  # type: ignore[union-attr]
    assert count == 61
    assert max(sizes) == (4 + 2 * context) * step


@pytest.mark.parametrize(
    ("recipe", "signal", "options", "reason"),
    [
        ("video-vae", CLIP, {"downsample": [5, 4, 4]}, "its norms are over all positions of a signal"),
        ("vit-vae", CLIP, {"downsample": [5, 4, 4]}, "nothing says that a latent sees a part of the signal alone"),
        ("vq-vae-2", SOUND, {"backbone": {"kind": "seanet"}}, "a hierarchy has grids at several rates"),
        ("dac", SOUND, {"backbone": {"lstm": 1}}, "with lstm a latent sees all that came before it"),
        ("encodec", SOUND, {"decoder": {"causal": False, "lstm": 1}}, "with lstm a latent sees all"),
        ("kl-vae", SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8)), {}, "image signals have no time"),
    ],
)
def test_what_needs_the_whole_says_so_in_one_line(
    recipe: str, signal: SignalSpec, options: dict[str, Any], reason: str
) -> None:
    tokenizer: Any = build(resolve(recipe, signal, options))
    with pytest.raises(UserError) as error:
        encode_long(tokenizer, draw(signal), positions=2)
    assert f"{recipe} codes whole signals alone: {reason}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("positions", [1, 2, 100])
@pytest.mark.parametrize(
    ("recipe", "signal", "options", "length"),
    [
        ("causal-video-vae", CLIP, SMALL, 23),
        ("pca", CLIP, {"downsample": [5, 4, 4], "channels": 8}, 21),
        ("pca", CLIP, {"downsample": [5, 4, 4], "channels": 8}, 3),
        ("encodec", SOUND, SMALL, 23 * 64 + 1),
        ("dac", SOUND, {"backbone": {"width": 4, "dilations": [1, 3]}}, 24 * 64 - 10),
    ],
)
@torch.no_grad()
def test_an_end_that_fills_no_latent_is_filled_and_cut_off_again(
    recipe: str, signal: SignalSpec, options: dict[str, Any], length: int, positions: int
) -> None:
    """By hand: a waveform goes on in silence, a clip holds its last frame."""
    tokenizer, x = tokenizer_of(recipe, signal, options), draw(signal)[:, :, :length]
    step, first = tokenizer.config.downsample[0], 1 if recipe.startswith("causal") else tokenizer.config.downsample[0]
    missing = (first - length) % step if length > first else first - length
    after = x[:, :, -1:].repeat_interleave(missing, 2)
    whole = torch.cat([x, after if signal is CLIP else torch.zeros_like(after)], dim=2)
    assert missing > 0
    latents = encode_long(tokenizer, x, positions=positions)
    assert latents.values is not None
    assert close(latents.values, tokenizer.encode(whole).values)
    decoded = tokenizer.decode(tokenizer.encode(whole))
    assert close(decode_long(tokenizer, latents, positions=positions), decoded)
    assert close(decode_long(tokenizer, latents, positions=positions, length=length), decoded[:, :, :length])
    assert decode_long(tokenizer, latents, positions=positions, length=length).shape == x.shape


def test_other_mistakes_are_one_line() -> None:
    tokenizer = tokenizer_of("causal-video-vae", CLIP, SMALL)
    with pytest.raises(UserError, match="positions must be at least 1, not 0"):
        encode_long(tokenizer, draw(CLIP), positions=0)
    codec: Any = build(resolve("identity", CLIP, {}))
    with pytest.raises(UserError, match="CodecTokenizer codes whole signals alone"):
        encode_long(codec, draw(CLIP), positions=2)


@torch.no_grad()
def test_the_time_of_a_spectrogram_is_its_second_axis() -> None:
    mel = MelSpec(sample_rate=8000, n_mels=16)
    signal = SignalSpec(
        modality=Modality.SPECTROGRAM, channels=1, shape=(16, 24), rate=8000.0, mel=mel, source_shape=(1, 24 * mel.hop)
    )
    tokenizer, x = tokenizer_of("pca", signal, {"downsample": [4, 2], "channels": 4}), draw(signal)
    latents = encode_long(tokenizer, x, positions=5)
    assert latents.values is not None
    assert close(latents.values, tokenizer.encode(x).values)
    assert decode_long(tokenizer, latents, positions=7).shape == x.shape
