"""Run-length coded codes: lossless, split where too long, tolerance within its bound, sequences no encoder makes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.sequence_coding.run_length import RunLength, hold
from latentbench.tokenizers.sequence_coding.run_length_config import RunLengthConfig
from latentbench.tokenizers.sequence_coding.tokenizer import SequenceCodedTokenizer
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, MelSpec, Modality, SignalSpec

WAVE = SignalSpec(modality=Modality.WAVEFORM, channels=1, shape=(2048,), rate=16000.0)


def spec(*sizes: int, shape: tuple[int, ...] = (24,)) -> LatentSpec:
    return LatentSpec(signal=WAVE, grids=(LatentGrid(shape=shape, channels=8, codebook_sizes=sizes),))


def test_runs_are_those_of_itertools() -> None:
    codes = torch.randint(2, (5, 1, 24))
    codes[4] = 1
    sequences, lengths = RunLength(RunLengthConfig(longest=100), spec(2)).encode_codes(codes)
    for row, sequence, length in zip(codes[:, 0].tolist(), sequences.tolist(), lengths.tolist(), strict=True):
        expected = [(code, len(list(run)) - 1) for code, run in itertools.groupby(row)]
        assert list(zip(*(part[:length] for part in sequence), strict=True)) == expected
        assert not any(any(part[length:]) for part in sequence)


@pytest.mark.parametrize("longest", [2, 3, 16])
@pytest.mark.parametrize(("sizes", "shape"), [((3,), (24,)), ((2, 3), (4, 6)), ((2,), (2, 3, 4))])
def test_codes_come_back(longest: int, sizes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    inner = spec(*sizes, shape=shape)
    coding = RunLength(RunLengthConfig(longest=longest), inner)
    codes = torch.stack([torch.randint(size, (7, *shape)) for size in sizes], 1)
    codes[0] = 0
    sequences, lengths = coding.encode_codes(codes)
    grid = RunLengthConfig(longest=longest).grid(inner)
    assert grid.codebook_sizes == (*sizes, longest)
    assert sequences.shape == (7, grid.heads, *grid.shape)
    assert (sequences.amax((0, 2)) < torch.tensor(grid.codebook_sizes)).all()
    assert int(lengths[0]) == -(-24 // longest)
    restored, malformed = coding.decode_codes(sequences, lengths)
    assert torch.equal(restored, codes)
    assert malformed == 0


def test_any_sequence_decodes_and_is_counted() -> None:
    coding = RunLength(RunLengthConfig(longest=4), spec(5))
    sequences = torch.stack([torch.randint(5, (30, 24)), torch.randint(4, (30, 24))], 1)
    codes, malformed = coding.decode_codes(sequences, torch.randint(25, (30,)))
    assert codes.shape == (30, 1, 24)
    assert 0 <= codes.min() <= codes.max() < 5
    assert 20 < malformed <= 30
    short = torch.tensor([[[2, 3, 0, 0], [1, 0, 0, 0]]])
    codes, malformed = RunLength(RunLengthConfig(longest=4), spec(5, shape=(4,))).decode_codes(short, torch.tensor([2]))
    assert (codes.tolist(), malformed) == ([[[2, 2, 3, 3]]], 1)


@pytest.mark.parametrize("tolerance", [0.02, 0.1, 0.5])
def test_holding_changes_at_most_the_tolerance(tolerance: float) -> None:
    codebook = torch.randn(16, 4)
    features = torch.randn(3, 4, 50).cumsum(2) * 0.3
    codes = torch.cdist(features.transpose(1, 2), codebook.expand(3, -1, -1)).argmin(2).unsqueeze(1)
    values = codebook[codes[:, 0]].transpose(1, 2)
    held = hold(values, codes, tolerance)
    assert torch.equal(hold(values, codes, 0.0), codes)
    change = (codebook[held[:, 0]].transpose(1, 2) - values).square().sum(1)
    variance = values.var(2, correction=0).sum(1, keepdim=True)
    assert (change <= tolerance * variance * (1 + 1e-5)).all()
    # every change of code was needed: the code before it would have changed too much
    switched = held[:, 0, 1:] != held[:, 0, :-1]
    cost = (codebook[held[:, 0, :-1]].transpose(1, 2) - values[:, :, 1:]).square().sum(1)
    assert (cost > tolerance * variance * (1 - 1e-5))[switched].all()
    assert switched.any()


@pytest.mark.parametrize("kind", ["waveform", "spectrogram"])
@pytest.mark.parametrize("bottleneck", [{}, {"normalise": True}, {"kind": "multi_head_vq", "heads": 2}])
def test_more_tolerance_gives_shorter_sequences(kind: str, bottleneck: dict[str, object]) -> None:
    mel = SignalSpec(
        modality=Modality.SPECTROGRAM,
        channels=1,
        shape=(16, 32),
        rate=16000.0,
        mel=MelSpec(sample_rate=16000, n_mels=16),
        source_shape=(1, 8192),
    )
    signal = {"waveform": WAVE, "spectrogram": mel}[kind]
    options = {"width": 8, "codebook_size": 8, "bottleneck": bottleneck}
    config = resolve("slow-vq", signal, options)
    tokenizer = build(config)
    x = torch.tanh(torch.randn(4, signal.channels, *signal.shape).cumsum(-1) * 0.2)
    tokenizer.on_train_start([x])
    tokenizer.eval()
    means = []
    for tolerance in (0.0, 0.5, 4.0):
        other = build(replace(config, sequence_coding=RunLengthConfig(tolerance=tolerance)))
        other.load_state_dict(tokenizer.state_dict())
        assert isinstance(other, SequenceCodedTokenizer)
        with torch.no_grad():
            latents = other.eval().encode(x)
            assert other.decode(latents).shape == x.shape
            assert other.undecodable == 0
            if tolerance == 0.0:
                plain = other.inner.encode(x)
                assert torch.equal(other.decode(latents), other.inner.decode(Latents(codes=plain.codes)))
        assert latents.lengths is not None
        means.append(latents.lengths.double().mean().item())
    assert means[0] >= means[1] >= means[2]
    assert means[2] < means[0]


def test_any_codes_can_be_held() -> None:
    config = resolve("fsq", WAVE, {"sequence_coding": {"kind": "run_length", "tolerance": 0.5}, "width": 8})
    assert config.spec.grid.codebook_sizes == (240, 16)
    tokenizer = build(config).eval()
    latents = tokenizer.encode(torch.randn(2, 1, 2048))
    assert tokenizer.decode(latents).shape == (2, 1, 2048)


def test_continuous_latents_have_no_runs() -> None:
    with pytest.raises(UserError, match=r"t.sequence_coding: run_length needs codes, and these latents are continuous"):
        resolve("kl-vae", WAVE, {"sequence_coding": {"kind": "run_length"}}, where="t")
