"""Entropy-coded codes: lossless, at the entropy, never longer than plain, and streams that no encoder makes."""

from __future__ import annotations

import json
import zlib

import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tokenizers.build import build
from latentbench.tokenizers.config import TokenizerConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.recipe import resolve
from latentbench.tokenizers.sequence_coding.entropy import Entropy
from latentbench.tokenizers.sequence_coding.entropy_config import EntropyConfig
from latentbench.tokenizers.sequence_coding.tokenizer import SequenceCodedTokenizer
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

IMAGE = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(32, 32))


def coding(*sizes: int, shape: tuple[int, ...] = (6, 8)) -> Entropy:
    inner = LatentSpec(signal=IMAGE, grids=(LatentGrid(shape=shape, channels=8, codebook_sizes=sizes),))
    return Entropy(EntropyConfig(), inner)


def skewed(count: int, sizes: tuple[int, ...], shape: tuple[int, ...] = (6, 8)) -> Tensor:
    """Codes `[count, H, *shape]` of which the first are the most frequent."""
    return torch.stack([(torch.rand(count, *shape) ** 4 * size).long() for size in sizes], 1)


@pytest.mark.parametrize("sizes", [(256,), (5, 100), (2, 3, 7)])
def test_codes_come_back_at_their_entropy(sizes: tuple[int, ...]) -> None:
    coder, codes = coding(*sizes), skewed(600, sizes)
    coder.fit_codes([codes[:300], codes[300:]])
    sequences, lengths = coder.encode_codes(codes)
    assert sequences.shape == (600, 1, coder.longest)
    assert sequences.min() >= 0
    assert sequences.max() < 256
    restored, malformed = coder.decode_codes(sequences, lengths)
    assert torch.equal(restored, codes)
    assert malformed == 0
    bits = 0.0
    for head, size in enumerate(sizes):
        shares = torch.bincount(codes[:, head].flatten(), minlength=size).double() / codes[:, head].numel()
        bits += 48 * torch.special.entr(shares).sum().item() / torch.log(torch.tensor(2.0)).item()
    mean = lengths.double().mean().item()
    assert bits / 8 <= mean + 1
    assert mean <= 1.02 * bits / 8 + 2
    unseen = torch.stack([torch.randint(size, (9, 6, 8)) for size in sizes], 1)
    assert torch.equal(coder.decode_codes(*coder.encode_codes(unseen))[0], unseen)


def test_what_would_be_longer_is_stored_plain() -> None:
    coder = coding(200, 3)
    assert coder.longest == 48 * (8 + 2) // 8
    codes = skewed(100, (200, 3))
    coder.fit_codes([codes])
    rare = torch.stack([torch.randint(150, 200, (4, 6, 8)), torch.randint(3, (4, 6, 8))], 1)
    sequences, lengths = coder.encode_codes(torch.cat([codes[:4], rare]))
    assert (lengths[:4] < coder.longest).all()
    assert lengths[4:].tolist() == [coder.longest] * 4
    first = "".join(f"{byte:08b}" for byte in sequences[4, 0].tolist())[:10]
    assert [int(first[:8], 2), int(first[8:], 2)] == rare[0, :, 0, 0].tolist()
    restored, malformed = coder.decode_codes(sequences, lengths)
    assert torch.equal(restored[4:], rare)
    assert malformed == 0
    # 255 is no code of the first head, 3 none of the second
    broken, malformed = coder.decode_codes(torch.full((2, 1, coder.longest), 255), torch.tensor([coder.longest] * 2))
    assert malformed == 2
    assert broken[:, 0].unique().tolist() == [199]
    assert broken[:, 1].unique().tolist() == [2]


def test_before_it_has_learned_all_codes_are_alike() -> None:
    coder, codes = coding(20), torch.randint(20, (5, 1, 6, 8))
    sequences, lengths = coder.encode_codes(codes)
    assert torch.equal(coder.decode_codes(sequences, lengths)[0], codes)
    assert (lengths <= 28).all()  # 48 log2(20) bits are 25.9 bytes


@pytest.mark.parametrize("sizes", [(30,), (5, 16)])
def test_any_stream_decodes_and_is_counted(sizes: tuple[int, ...]) -> None:
    coder = coding(*sizes)
    coder.fit_codes([skewed(50, sizes)])
    sequences, lengths = torch.randint(256, (60, 1, coder.longest)), torch.randint(coder.longest + 1, (60,))
    codes, malformed = coder.decode_codes(sequences, lengths)
    assert codes.shape == (60, len(sizes), 6, 8)
    assert all(codes[:, h].min() >= 0 and codes[:, h].max() < size for h, size in enumerate(sizes))
    assert 55 < malformed <= 60


def test_a_stream_that_ends_early_repeats_its_last_code() -> None:
    sizes = (30, 4)
    coder, codes = coding(*sizes), skewed(50, sizes)
    coder.fit_codes([codes])
    sequences, lengths = coder.encode_codes(codes)
    cut, malformed = coder.decode_codes(sequences, torch.full_like(lengths, 8))
    assert malformed == 50
    assert torch.equal(cut[:, :, 0, :2], codes[:, :, 0, :2])
    assert (cut[:, :, -1, -1:] == cut[:, :, -1]).all()
    nothing, malformed = coder.decode_codes(sequences[:1], torch.tensor([0]))
    assert (nothing.any().item(), malformed) == (False, 1)


def test_the_tokenizer_is_the_inner_one_with_bytes_for_codes() -> None:
    config = resolve("vq-vae-entropy", IMAGE, {"width": 8, "codebook_size": 16})
    assert config.spec.grid.shape == (32,)
    assert config.spec.grid.codebook_sizes == (256,)
    assert config.spec.topology == "sequence"
    assert config.spec.bits_per_sample == 64 * 4
    assert TokenizerConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.versions()["sequence_coding.entropy"] == 1
    tokenizer = build(config)
    assert isinstance(tokenizer, SequenceCodedTokenizer)
    assert config.estimate_parameters() == sum(p.numel() for p in tokenizer.parameters())
    x = torch.tanh(torch.randn(6, 3, 8, 8)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    tokenizer.on_train_start([x])
    tokenizer.eval()
    tokenizer.on_train_end([x[:3], x[3:]])
    with torch.no_grad():
        latents, plain = tokenizer.encode(x), tokenizer.inner.encode(x)
        expected = tokenizer.inner.decode(Latents(codes=plain.codes))
        assert torch.equal(tokenizer.decode(latents), expected)
        other = build(config)
        other.load_state_dict(tokenizer.state_dict())
        assert torch.equal(other.eval().decode(latents), expected)
    assert tokenizer.undecodable == 0


def test_codebooks_without_end_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"t.sequence_coding: entropy codes heads of at most 262144 codes, and one has 312500"
    ):
        resolve(
            "fsq", IMAGE, {"bottleneck": {"levels": [50, 50, 125]}, "sequence_coding": {"kind": "entropy"}}, where="t"
        )


def test_the_bytes_hide_the_pattern_that_the_codes_show() -> None:
    """The negative control: codes that mostly repeat the one before, of which next to nothing shows in the bytes."""
    coder = coding(50, shape=(24, 32))
    fresh = skewed(60, (50,), (24, 32)).flatten(2)
    places = torch.where(torch.rand(fresh.shape) < 0.2, torch.arange(24 * 32), 0).cummax(2).values
    codes = fresh.gather(2, places).view(60, 1, 24, 32)
    coder.fit_codes([codes])
    sequences, lengths = coder.encode_codes(codes)
    rows = zip(sequences[:, 0].tolist(), lengths.tolist(), strict=True)
    stream = bytes(byte for row, length in rows for byte in row[:length])
    assert len(zlib.compress(bytes(codes.flatten().tolist()), 9)) < 0.7 * len(stream)
    assert len(zlib.compress(stream, 9)) > 0.95 * len(stream)
