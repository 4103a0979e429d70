"""The latent store: round trip, statistics, normalisation, posterior samples, errors."""

from __future__ import annotations

import errno
import io
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.results.errors import UserError
from latentbench.tasks import encoding, partial_files
from latentbench.tasks.encoding import write_latents, write_statistics
from latentbench.tasks.latents import LatentSplit, LatentStore
from latentbench.tokenizers.interface import Latents, Tokenizer
from latentbench.tokenizers.spec import LatentGrid, LatentSpec, Modality, SignalSpec

SIGNAL = SignalSpec(modality=Modality.IMAGE, channels=3, shape=(8, 8))
CPU = torch.device("cpu")


class Signals:
    """A split of random signals with labels."""

    def __init__(self, n: int, seed: int) -> None:
        self.signal = SIGNAL
        self.data = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 + 5
        self.labels = np.arange(n) % 4

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: np.ndarray, device: torch.device) -> Tensor:
        return self.data[torch.from_numpy(indices)].to(device)

    sources = batch


class Fixed(Tokenizer):
    """A tokenizer whose latents are the signal itself, with whatever parts the spec asks for."""

    def __init__(self, grids: tuple[LatentGrid, ...], *, scale: float | None = None) -> None:
        self._spec = LatentSpec(signal=SIGNAL, grids=grids)
        self.scale = scale

    @property
    def spec(self) -> LatentSpec:
        return self._spec

    def encode(self, signal: Tensor) -> Latents:
        levels = []
        for number, grid in enumerate(self._spec.grids):
            values = signal.reshape(len(signal), -1)[:, : grid.channels * grid.positions] + number
            values = values.reshape(len(signal), grid.channels, *grid.shape)
            codes = None
            if grid.heads:
                heads = [(values[:, 0] * 1000).long() % size for size in grid.codebook_sizes]
                codes = torch.stack(heads, dim=1)
            scale = None if self.scale is None else torch.full_like(values, self.scale)
            levels.append(Latents(values=values, codes=codes, scale=scale))
        return replace(levels[0], rest=tuple(levels[1:]))

    def decode(self, latents: Latents) -> Tensor:
        raise NotImplementedError


def written(tokenizer: Tokenizer, folder: Path, n: int = 37) -> tuple[LatentStore, Signals]:
    train = Signals(n, 0)
    write_latents(tokenizer, train, folder, "train", device=CPU, batch_size=8)
    write_latents(tokenizer, Signals(11, 1), folder, "val", device=CPU, batch_size=8)
    write_statistics(folder)
    return LatentStore.open(folder, tokenizer.spec), train


def test_round_trip_and_normalisation(tmp_path: Path) -> None:
    tokenizer = Fixed((LatentGrid(shape=(4, 4), channels=4),))
    store, train = written(tokenizer, tmp_path)
    raw = tokenizer.encode(train.data).values
    assert len(store.train) == 37
    assert len(store.val) == 11
    picked = np.array([5, 0, 36])
    batch = store.train.batch(picked, CPU)
    assert len(batch) == 3
    torch.testing.assert_close(store.denormalise(batch.latents).values, raw[picked], rtol=1e-6, atol=1e-6)
    assert batch.labels.tolist() == [1, 0, 0]
    assert batch.indices.tolist() == picked.tolist()
    everything = store.train.batch(np.arange(37), CPU).latents.values
    torch.testing.assert_close(everything.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(everything.std((0, 2, 3), correction=0), torch.ones(4))
    torch.testing.assert_close(store.mean, raw.double().mean((0, 2, 3)).float())


def test_half_precision_takes_half_the_space_and_is_computed_with_in_float32(tmp_path: Path) -> None:
    tokenizer = Fixed((LatentGrid(shape=(4, 4), channels=4),), scale=0.3)
    exact, train = written(tokenizer, tmp_path / "exact")
    for name, split in (("train", train), ("val", Signals(11, 1))):
        write_latents(tokenizer, split, tmp_path, name, device=CPU, batch_size=8, stored="float16")
    write_statistics(tmp_path)
    store = LatentStore.open(tmp_path, tokenizer.spec)
    assert store.train.values is not None
    assert exact.train.values is not None
    assert 2 * store.train.values.nbytes == exact.train.values.nbytes
    raw = tokenizer.encode(train.data).values
    assert raw is not None
    picked = np.arange(37)
    store.train.mode = exact.train.mode = True
    values = store.denormalise(store.train.batch(picked, CPU).latents).values
    assert values is not None
    assert values.dtype is torch.float32
    assert float((values - raw).abs().max()) > 0
    assert float(((values - raw).abs() / raw.abs()).max()) < 2**-11 + 1e-5
    assert store.std is not None
    assert exact.std is not None
    torch.testing.assert_close(store.std, exact.std, rtol=1e-4, atol=0)
    drawn = store.val.batch(np.array([3]), CPU).latents.values  # mode and deviation, both rounded
    torch.testing.assert_close(drawn, exact.val.batch(np.array([3]), CPU).latents.values, rtol=0, atol=5e-3)


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    split = Signals(9, 0)
    split.data[4, 0, 0, 0] = 7e4
    tokenizer = Fixed((LatentGrid(shape=(8, 8), channels=3),))
    with pytest.raises(UserError, match=r"values up to 7e\+04, too large for evaluation.latents"):
        write_latents(tokenizer, split, tmp_path, "train", device=CPU, batch_size=8, stored="float16")
    assert not list(tmp_path.iterdir())


def test_statistics_do_not_depend_on_the_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Fixed((LatentGrid(shape=(4, 4), channels=4),), scale=0.3)
    whole, train = written(tokenizer, tmp_path)
    monkeypatch.setattr(encoding, "_CHUNK_BYTES", 1000)
    write_statistics(tmp_path)
    chunked = LatentStore.open(tmp_path, tokenizer.spec)
    torch.testing.assert_close(whole.std, chunked.std, rtol=1e-7, atol=0)
    values = tokenizer.encode(train.data).values.double()
    expected = (values.var((0, 2, 3), correction=0) + 0.09).sqrt()
    torch.testing.assert_close(whole.std.double(), expected, rtol=1e-6, atol=0)


def test_posterior_samples_have_its_scale_and_mode_has_none(tmp_path: Path) -> None:
    store, _ = written(Fixed((LatentGrid(shape=(8,), channels=3),), scale=0.5), tmp_path)
    indices = np.arange(37)
    draws = torch.stack([store.denormalise(store.train.batch(indices, CPU).latents).values for _ in range(400)])
    assert draws.std(0).mean().item() == pytest.approx(0.5, rel=0.01)
    store.train.mode = True
    mode = store.denormalise(store.train.batch(indices, CPU).latents).values
    torch.testing.assert_close(mode, torch.from_numpy(np.array(store.train.values)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(draws.mean(0), mode, atol=0.15, rtol=0)


def test_training_noise_follows_the_global_generator_and_validation_noise_the_index(tmp_path: Path) -> None:
    store, _ = written(Fixed((LatentGrid(shape=(8,), channels=3),), scale=0.5), tmp_path)

    def draw(split: LatentSplit, indices: list[int]) -> Tensor:
        return split.batch(np.array(indices), CPU).latents.values

    torch.manual_seed(3)
    first = draw(store.train, [1, 2])
    assert not torch.equal(first, draw(store.train, [1, 2]))
    torch.manual_seed(3)
    assert torch.equal(first, draw(store.train, [1, 2]))
    assert torch.equal(draw(store.val, [4, 7])[1], draw(store.val, [7, 1, 2])[0])


@pytest.mark.parametrize(("size", "dtype"), [(256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.int32)])
def test_codes_take_the_smallest_integer_that_holds_them(tmp_path: Path, size: int, dtype: type) -> None:
    tokenizer = Fixed((LatentGrid(shape=(2, 2), channels=4, codebook_sizes=(size, 7)),))
    store, train = written(tokenizer, tmp_path)
    assert store.train.codes.dtype == dtype
    batch = store.train.batch(np.array([3, 1]), CPU)
    assert batch.latents.codes.dtype == torch.int64
    assert torch.equal(batch.latents.codes, tokenizer.encode(train.data[[3, 1]]).codes)


def test_hierarchies_keep_their_levels(tmp_path: Path) -> None:
    grids = (LatentGrid(shape=(2, 2), channels=2), LatentGrid(shape=(4, 4), channels=3))
    tokenizer = Fixed(grids)
    store, train = written(tokenizer, tmp_path)
    assert (tmp_path / "train.1.values.npy").exists()
    batch = store.train.batch(np.array([2]), CPU).latents
    back = store.denormalise(batch)
    for ours, theirs in zip(back.levels, tokenizer.encode(train.data[[2]]).levels, strict=True):
        torch.testing.assert_close(ours.values, theirs.values, rtol=1e-5, atol=1e-5)


def test_a_constant_channel_stays_finite(tmp_path: Path) -> None:
    class Constant(Fixed):
        def encode(self, signal: Tensor) -> Latents:
            return Latents(values=torch.full((len(signal), 2, 3), 0.7))

    tokenizer = Constant((LatentGrid(shape=(3,), channels=2),))
    store, _ = written(tokenizer, tmp_path)
    values = store.train.batch(np.array([0]), CPU).latents
    assert values.values.abs().max() < 1e-5
    torch.testing.assert_close(store.denormalise(values).values, torch.full((1, 2, 3), 0.7))


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.FileIO):
        def write(self, data: object) -> int:
            if self.tell() > 4000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(bytes(data)[:500])  # type: ignore[call-overload]

    monkeypatch.setattr(partial_files, "FileIO", Full)
    tokenizer = Fixed((LatentGrid(shape=(4, 4), channels=4),))
    with pytest.raises(UserError, match=r"train\.values\.npy.*[Nn]o space left") as caught:
        write_latents(tokenizer, Signals(64, 0), tmp_path, "train", device=CPU, batch_size=8)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_latents_are_refused(tmp_path: Path) -> None:
    class Broken(Fixed):
        change = staticmethod(lambda latents: latents)

        def encode(self, signal: Tensor) -> Latents:
            return self.change(super().encode(signal))

    tokenizer = Broken((LatentGrid(shape=(2, 2), channels=2, codebook_sizes=(9,)),))
    cases = {
        "outside its codebooks": lambda z: replace(z, codes=z.codes + 9),
        "gave no codes": lambda z: replace(z, codes=None),
        "not finite": lambda z: replace(z, values=z.values / 0),
        "its spec says": lambda z: replace(z, values=z.values[..., :1]),
        "latent grids": lambda z: replace(z, rest=(z,)),
    }
    for message, change in cases.items():
        tokenizer.change = change
        with pytest.raises(UserError, match=message):
            write_latents(tokenizer, Signals(8, 0), tmp_path, "train", device=CPU, batch_size=8)
    assert list(tmp_path.iterdir()) == []


def test_missing_and_foreign_stores_are_named(tmp_path: Path) -> None:
    tokenizer = Fixed((LatentGrid(shape=(4, 4), channels=4),))
    with pytest.raises(UserError, match="no latent statistics"):
        LatentStore.open(tmp_path, tokenizer.spec)
    with pytest.raises(UserError, match="no training latents"):
        write_statistics(tmp_path)
    written(tokenizer, tmp_path)
    with pytest.raises(UserError, match="shape"):
        LatentStore.open(tmp_path, Fixed((LatentGrid(shape=(4, 2), channels=4),)).spec)
    path = tmp_path / "val.values.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"val\.values\.npy: not a latent file"):
        LatentStore.open(tmp_path, tokenizer.spec)


@pytest.mark.parametrize("posterior", [False, True])
def test_encoding_goes_on_where_it_was_ended(posterior: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_files, "SECONDS", 0.0)
    grids = (LatentGrid(shape=(4, 4), channels=4),)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_latents(Fixed(grids), Signals(20, 0), whole, "train", device=CPU, batch_size=3, resume=True)
    seen: list[int] = []

    def end(done: int, total: int, message: str) -> None:
        seen.append(done)
        if done == 12 and seen.count(12) == 1:
            raise KeyboardInterrupt

    def encode() -> None:
        options = {"device": CPU, "batch_size": 3, "resume": True, "progress": end}
        write_latents(Fixed(grids), Signals(20, 0), parts, "train", **options)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        encode()
    if posterior:  # what was written and not noted as safe is written again
        with (parts / "train.values.npy.part").open("ab") as file:
            file.write(b"more")
    encode()
    encode()  # nothing is left to be done
    assert seen == [3, 6, 9, 12, 15, 18, 20]
    for path in whole.glob("*.npy"):
        assert path.read_bytes() == (parts / path.name).read_bytes()


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("place", [0.01, 0.3, 0.7])
def test_rows_that_are_damaged_are_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool, place: float
) -> None:
    monkeypatch.setattr(partial_files, "SECONDS", 0.0)
    grids = (LatentGrid(shape=(4, 4), channels=4),)

    def end(done: int, total: int, message: str) -> None:
        if not finished and done == 12:
            raise KeyboardInterrupt

    options = {"device": CPU, "batch_size": 3, "resume": True}
    with suppress(KeyboardInterrupt):
        write_latents(Fixed(grids), Signals(20, 0), tmp_path, "train", progress=end, **options)  # type: ignore[arg-type]
    path = tmp_path / f"train.values.npy{'' if finished else '.part'}"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    path.write_bytes(content)
    write_latents(Fixed(grids), Signals(20, 0), tmp_path, "train", **options)  # type: ignore[arg-type]
    write_latents(Fixed(grids), Signals(20, 0), tmp_path / "x", "train", **options)  # type: ignore[arg-type]
    assert (tmp_path / "train.values.npy").read_bytes() == (tmp_path / "x" / "train.values.npy").read_bytes()


def test_rows_that_are_missing_are_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_files, "SECONDS", 0.0)
    grids = (LatentGrid(shape=(4, 4), channels=4),)

    def end(done: int, total: int, message: str) -> None:
        raise KeyboardInterrupt

    options = {"device": CPU, "batch_size": 3, "resume": True}
    with pytest.raises(KeyboardInterrupt):
        write_latents(Fixed(grids), Signals(20, 0), tmp_path, "train", progress=end, **options)  # type: ignore[arg-type]
    part = tmp_path / "train.values.npy.part"
    part.write_bytes(part.read_bytes()[:-8])
    write_latents(Fixed(grids), Signals(20, 0), tmp_path, "train", **options)  # type: ignore[arg-type]
    write_latents(Fixed(grids), Signals(20, 0), tmp_path / "x", "train", **options)  # type: ignore[arg-type]
    assert (tmp_path / "train.values.npy").read_bytes() == (tmp_path / "x" / "train.values.npy").read_bytes()


def test_latents_that_a_published_normaliser_left_are_not_normalised_again(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(3.0, 5.0, (8, 2, 4, 4)).astype(np.float32)
    np.save(tmp_path / "train.values.npy", values)
    write_statistics(tmp_path, published=True)
    (level,) = json.loads((tmp_path / "statistics.json").read_text())["levels"]
    assert level == {"mean": [0.0, 0.0], "std": [1.0, 1.0]}
    write_statistics(tmp_path)
    (level,) = json.loads((tmp_path / "statistics.json").read_text())["levels"]
    assert level["mean"] == pytest.approx(values.mean((0, 2, 3)).tolist(), rel=1e-4)
