"""Merged codes: lossless, shorter, the library's own merges, saved and restored, and sequences no encoder makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentbench.bench.training import train
from latentbench.results.errors import UserError
from latentbench.tasks.memory_mapped import MemoryMapped
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.sequence_coding.bpe import BPE, _character
from latentbench.tokenizers.sequence_coding.bpe_config import PRIVATE, BPEConfig
from latentbench.tokenizers.sequence_coding.tokenizer import SequenceCodedTokenizer
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec
from latentbench.tokenizers.training import TrainingConfig

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def spec(*sizes: int, shape: tuple[int, ...] = (4, 6)) -> LatentSpec:
    return LatentSpec(signal=IMAGE, grids=(LatentGrid(shape=shape, channels=8, codebook_sizes=sizes),))


def patterned(count: int, sizes: tuple[int, ...], shape: tuple[int, ...] = (4, 6)) -> Tensor:
    """Codes `[count, H, *shape]` made of few repeating patterns with a little noise."""
    rows = []
    for size in sizes:
        start = torch.randint(3, (count, *(1,) * len(shape)))
        waves = (start + torch.arange(shape[-1])).expand(count, *shape) % 4 % size
        noise = torch.randint(size, (count, *shape))
        rows.append(torch.where(torch.rand(count, *shape) < 0.1, noise, waves))
    return torch.stack(rows, 1)


@pytest.mark.parametrize("sizes", [(16,), (5, 16)])
def test_merged_codes_come_back(sizes: tuple[int, ...]) -> None:
    inner, codes = spec(*sizes), patterned(40, sizes)
    coding = BPE(BPEConfig(vocabulary=sum(sizes) + 40), inner)
    coding.fit_codes([codes[:20], codes[20:]])
    sequences, lengths = coding.encode_codes(codes)
    assert sequences.shape == (40, 1, 24 * len(sizes))
    assert sequences.dtype == torch.int64
    assert sequences.max() < sum(sizes) + 40
    assert lengths.double().mean() < 0.6 * 24 * len(sizes)
    restored, malformed = coding.decode_codes(sequences, lengths)
    assert torch.equal(restored, codes)
    assert malformed == 0
    # codes never seen in training come back too
    unseen = torch.stack([torch.randint(size, (1, 4, 6)) for size in sizes], 1)
    assert torch.equal(coding.decode_codes(*coding.encode_codes(unseen))[0], unseen)


def test_the_first_merge_is_the_most_frequent_pair() -> None:
    codes = torch.tensor([0, 1, 2, 3, 0, 1, 4, 5, 0, 1, 6, 7, 0, 1, 5, 2, 0, 1, 3, 7, 0, 1, 6, 4]).view(1, 1, 4, 6)
    coding = BPE(BPEConfig(vocabulary=9), spec(8))
    coding.fit_codes([codes])
    assert coding.merges[0].tolist() == [0, 1]
    assert coding.encode_codes(codes)[1].tolist() == [18]


def test_codes_that_no_merge_was_worth_decode_to_nothing() -> None:
    coding = BPE(BPEConfig(vocabulary=100), spec(8))
    coding.fit_codes([torch.arange(8).repeat(3).view(1, 1, 4, 6)])
    left = int((coding.merges[:, 0] < 0).sum())
    assert left > 0
    sequences = torch.full((1, 1, 24), 99)
    codes, malformed = coding.decode_codes(sequences, torch.tensor([24]))
    assert malformed == 1
    assert torch.equal(codes, torch.zeros(1, 1, 4, 6, dtype=torch.long))


def test_any_sequence_decodes_and_is_counted() -> None:
    sizes = (5, 16)
    coding = BPE(BPEConfig(vocabulary=50), spec(*sizes))
    coding.fit_codes([patterned(20, sizes)])
    sequences, lengths = torch.randint(50, (30, 1, 48)), torch.randint(49, (30,))
    codes, malformed = coding.decode_codes(sequences, lengths)
    assert codes.shape == (30, 2, 4, 6)
    assert all(codes[:, h].min() >= 0 and codes[:, h].max() < size for h, size in enumerate(sizes))
    assert 25 < malformed <= 30


def test_too_long_is_cut_and_too_short_repeats_the_last() -> None:
    coding = BPE(BPEConfig(vocabulary=9), spec(8))
    sequences = torch.arange(8).repeat(3).view(1, 1, 24)
    codes, malformed = coding.decode_codes(sequences, torch.tensor([3]))
    assert codes.flatten().tolist() == [0, 1] + [2] * 22
    assert malformed == 1
    longer = torch.cat([sequences, sequences], dim=2)
    codes, malformed = coding.decode_codes(longer, torch.tensor([48]))
    assert torch.equal(codes.flatten(), sequences.flatten())
    assert malformed == 1


def test_every_private_character_is_one_and_no_surrogate() -> None:
    seen = {_character(i) for i in (0, 1, PRIVATE // 2 - 1, PRIVATE // 2, PRIVATE - 1)}
    assert {f"{ord(c):x}" for c in seen} == {"f0000", "f0001", "ffffd", "100000", "10fffd"}


def test_the_tokenizer_is_the_inner_one_with_shorter_codes() -> None:
    config = resolve("vq-vae-bpe", IMAGE, {"width": 8, "codebook_size": 16, "sequence_coding": {"vocabulary": 200}})
    assert config.spec.grid.shape == (64,)
    assert config.spec.grid.codebook_sizes == (200,)
    assert config.spec.topology == "sequence"
    assert TokenizerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.versions()["sequence_coding.bpe"] == 1
    tokenizer = build(config)
    assert isinstance(tokenizer, SequenceCodedTokenizer)
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())
    x = torch.tanh(torch.randn(6, 3, 8, 8)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    tokenizer.on_train_start([x])
    tokenizer.losses(x, group="model", step=0, steps=2)["loss"].backward()
    tokenizer.eval()
    tokenizer.on_train_end([x[:3], x[3:]])
    with torch.no_grad():
        latents, plain = tokenizer.encode(x), tokenizer.inner.encode(x)
        assert latents.lengths is not None
        assert (latents.lengths < 64).all()
        expected = tokenizer.inner.decode(Latents(codes=plain.codes))
        assert torch.equal(tokenizer.decode(latents), expected)
        other = build(config)
        other.load_state_dict(tokenizer.state_dict())
        assert torch.equal(other.eval().decode(latents), expected)
        again = other.encode(x)
        assert again.codes is not None
        assert torch.equal(again.codes, latents.codes)
        one = tokenizer.encode(x[:1])
        assert torch.equal(tokenizer.decode(one), expected[:1])
    assert tokenizer.undecodable == 0


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (
            "vq-vae-bpe",
            {"sequence_coding": {"vocabulary": 256}},
            "vocabulary 256 must be above the 256 codes there are",
        ),
        (
            "kl-vae",
            {"sequence_coding": {"kind": "bpe"}},
            "bpe needs codes, and these latents are continuous",
        ),
        ("vq-vae", {"sequence_coding": {"kind": "bpee"}}, "unknown sequence coding 'bpee'; did you mean 'bpe'?"),
    ],
)
def test_a_mistake_gets_one_line(recipe: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve(recipe, IMAGE, options, where="t")
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.sequence_coding")


def test_the_training_loop_lets_it_learn_last(tmp_path: Path) -> None:
    """Merges are of the trained tokenizer's codes of the whole training split."""
    config = resolve("vq-vae-bpe", IMAGE, {"width": 8, "codebook_size": 16, "sequence_coding": {"vocabulary": 40}})
    data = torch.tanh(torch.randn(6, 3, 8, 8)).repeat_interleave(4, 2).repeat_interleave(4, 3)

    tokenizer = build(config)
    assert isinstance(tokenizer, SequenceCodedTokenizer)
    training = TrainingConfig(steps=3, batch_size=4)
    train(tokenizer, MemoryMapped(data.numpy()), training, seed=0, folder=tmp_path, device=torch.device("cpu"))
    assert isinstance(tokenizer.sequence_coding, BPE)
    alone = BPE(BPEConfig(vocabulary=40), tokenizer.inner.spec)
    with torch.no_grad():
        codes = tokenizer.inner.encode(data).codes
    assert codes is not None
    alone.fit_codes([codes])
    assert torch.equal(alone.merges, tokenizer.sequence_coding.merges)
    assert (alone.merges >= 0).any()
