"""Files decoded while they are used: the samples of the decoded set, and training on them resumes."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latentbench.bench.datasets import DataConfig, file_table, fingerprint, open_dataset
from latentbench.bench.datasets.cached import CachedDataset
from latentbench.bench.datasets.decode_ahead import Decoders
from latentbench.bench.datasets.file_table import FileTable
from latentbench.bench.datasets.source import silent
from latentbench.bench.runner import run_suite
from latentbench.bench.training import InterruptedTrainingError, train
from latentbench.results.errors import UserError
from latentbench.tasks.interface import AHEAD, batches
from latentbench.tokenizers.interface import Trainable
from latentbench.tokenizers.spec import Modality
from latentbench.tokenizers.training import TrainingConfig

from ..processes import await_end
from .conftest import write_wav

CPU = torch.device("cpu")
Photos = Callable[..., Path]


def config(root: Path, **options: Any) -> DataConfig:
    return DataConfig(**{"source": "folder", "path": str(root), "size": 24, "val": 0.3, **options})


def everything(data: CachedDataset) -> list[Tensor]:
    return [torch.cat(list(batches(split, 3, CPU))) for split in (data.train, data.val)]


def test_samples_are_those_of_the_decoded_set(photos: Photos, tmp_path: Path, cache: Path) -> None:
    root = photos(6, folder="photos/a")
    photos(5, folder="photos/b", first=6)
    decoded = open_dataset(config(root.parent), cache=cache)
    streamed = open_dataset(config(root.parent, stream=True), cache=cache)
    for one, other in zip(everything(decoded), everything(streamed), strict=True):
        assert torch.equal(one, other)
    assert streamed.classes == decoded.classes == ("a", "b")
    assert np.array_equal(streamed.train.labels, decoded.train.labels)  # type: ignore[arg-type]
    assert streamed.counts == decoded.counts
    assert streamed.fingerprint != decoded.fingerprint
    (entry,) = (file.parent for file in cache.glob("datasets/*/files.sqlite"))
    assert not (entry / "samples.bin").exists()
    with pytest.raises(IndexError, match=r"\[0, 8\)"):
        streamed.train.batch(np.array([8]), CPU)


def test_sounds_give_one_segment_a_file(tmp_path: Path, cache: Path) -> None:
    for i in range(4):
        wave = np.random.default_rng(i).integers(-9000, 9000, (1, 8000)).astype(np.int16)
        write_wav(tmp_path / "sounds" / f"{i}.wav", wave)
    options = {"modality": Modality.SPECTROGRAM, "sample_rate": 8000, "seconds": 0.256, "n_mels": 16, "n_fft": 512}
    decoded = open_dataset(config(tmp_path / "sounds", per_file=1, **options), cache=cache)
    streamed = open_dataset(config(tmp_path / "sounds", stream=True, **options), cache=cache)
    assert torch.equal(everything(decoded)[0], everything(streamed)[0])
    rows = np.arange(2)
    assert torch.equal(decoded.val.sources(rows[:1], CPU), streamed.val.sources(rows[:1], CPU))


def test_what_cannot_be_used_gives_way_to_the_next_file(
    photos: Photos, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = photos(6)
    for number in range(200):  # junk of every rank
        (root / f"junk{number}.jpg").write_bytes(b"\xff\xd8\xff" + number.to_bytes(2, "big"))
    data = open_dataset(config(root, stream=True, val=2), cache=cache)
    assert (len(data.val), len(data.train)) == (2, 204)
    samples = data.train.batch(np.arange(204), CPU)
    assert 4 <= len(samples.flatten(1).unique(dim=0)) <= 6
    assert "; the next file takes its place" in capfd.readouterr().out
    shutil.rmtree(root)
    photos(2)
    (root / "0.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "1.jpg").write_bytes(b"\xff\xd8\xff\xff")
    broken = open_dataset(config(root, stream=True, val=1), cache=cache)
    with pytest.raises(UserError, match=r"1 files in a row can't be used \(the last: .*jpg: "):
        broken.train.batch(np.arange(1), CPU)


def test_a_file_that_changes_later_is_one_line(photos: Photos, cache: Path) -> None:
    root = photos(4)
    data = open_dataset(config(root, stream=True), cache=cache)
    for file in root.iterdir():
        file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(UserError, match=r"jpg has changed since the run was planned; run it again"):
        data.train.batch(np.arange(2), CPU)


@pytest.mark.slow
def test_files_that_moved_are_read_where_they_are(photos: Photos, cache: Path) -> None:
    root = photos(4)
    before = open_dataset(config(root, stream=True), cache=cache)
    expected = everything(before)
    shutil.copytree(root, root.with_name("copy"))
    shutil.rmtree(root)
    moved = config(root.with_name("copy"), stream=True)
    after = open_dataset(moved, cache=cache, fingerprint=before.fingerprint)
    assert all(torch.equal(one, other) for one, other in zip(expected, everything(after), strict=True))


@pytest.mark.parametrize("size", [24, (20, 32)])
def test_draws_decide_what_is_random(photos: Photos, cache: Path, size: int | tuple[int, int]) -> None:
    root = photos(5)
    plain = open_dataset(config(root, stream=True, size=size), cache=cache)
    rows, draws = np.array([0, 0, 1, 1]), np.array([10, 11, 10, 11])
    for augment in (("crop",), ("resized-crop",), ("flip", "resized-crop")):
        data = open_dataset(config(root, stream=True, augment=augment, size=size), cache=cache)
        assert data.fingerprint == plain.fingerprint
        assert data.train.batch(rows, CPU, draws).shape[2:] == plain.train.signal.shape
        one = data.train.batch(rows, CPU, draws)
        assert torch.equal(one, data.train.batch(rows, CPU, draws))
        assert torch.equal(one[2:], data.train.batch(rows[2:], CPU, draws[2:]))
        assert not torch.equal(one[0], one[1])
        assert torch.equal(data.train.batch(rows, CPU), plain.train.batch(rows, CPU))


def test_flips_mirror_half_of_the_samples_of_a_decoded_set(cache: Path) -> None:
    data = open_dataset(DataConfig(samples=4, val=4, size=8, augment=("flip",)), cache=cache)
    rows = np.zeros(400, np.int64)
    plain, drawn = data.train.batch(rows[:1], CPU), data.train.batch(rows, CPU, np.arange(400))
    mirrored = (drawn == plain.flip(-1)).flatten(1).all(1)
    assert ((drawn == plain).flatten(1).all(1) ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


class Mean(Trainable):
    """Learns the mean of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(3, 24, 24))

    def losses(self, batch: Tensor, **_: object) -> dict[str, Tensor]:
        return {"loss": (batch - self.mean).square().mean()}


@pytest.mark.slow
def test_training_resumes_to_the_same_bits(photos: Photos, tmp_path: Path, cache: Path) -> None:
    root = photos(7)
    recipe = TrainingConfig(steps=12, batch_size=3, precision="float32")

    def fit(name: str, stop: Callable[[], bool] = lambda: False) -> Tensor:
        data = open_dataset(config(root, stream=True, augment=("flip", "crop")), cache=cache)
        torch.manual_seed(0)
        model = Mean()
        (tmp_path / name).mkdir(exist_ok=True)
        train(model, data.train, recipe, seed=3, folder=tmp_path / name, device=CPU, stop=stop)
        return model.mean.detach()

    whole = fit("whole")
    steps = iter([False] * 4 + [True])
    with pytest.raises(InterruptedTrainingError):
        fit("parts", lambda: next(steps))
    assert torch.equal(fit("parts"), whole)


def test_only_some_batches_are_decoded_ahead(photos: Photos, cache: Path) -> None:
    data = open_dataset(config(photos(30), stream=True, val=1), cache=cache)
    decoders = data.train._decoders  # type: ignore[attr-defined]
    most = 0
    for _ in batches(data.train, 2, CPU):
        most = max(most, len(decoders._expected))
    assert 0 < most <= AHEAD + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "procedural", "val": 4}, "stream is for the sources 'folder', 'webdataset', 'parquet'"),
        ({"per_file": 3}, "per_file must be 1 with stream"),
        ({"crop": "tiles", "per_file": 1}, "crop must be 'center' or 'random' with stream"),
        ({"augment": ("crop", "resized-crop")}, "one of 'crop' and 'resized-crop'"),
        ({"stream": False, "augment": ("crop",)}, "augment 'crop' needs stream = true"),
        ({"modality": Modality.WAVEFORM, "augment": ("flip",)}, "augment 'flip' is for images and videos"),
        ({"modality": Modality.VIDEO, "augment": ("resized-crop",)}, "augment 'resized-crop' is for images"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(Path("x"), **{"stream": True, **options})


def test_a_set_too_large_for_the_cache_is_told_before_decoding(
    photos: Photos, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE_GB", "0.00001")
    root = photos(12)
    told: list[str] = []
    with pytest.raises(UserError, match=r"take data\.stream = true"):
        open_dataset(config(root), cache=cache, progress=lambda done, total, message: told.append(message))
    assert "decoding" not in told


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_hashing_goes_on_where_it_was_killed(photos: Photos, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(6)
    os.utime(root)
    monkeypatch.setattr(file_table, "_SETTLED_NS", -1_000_000_000)
    monkeypatch.setattr(file_table, "_BATCH", 2)
    monkeypatch.setattr(file_table, "_COMMIT_SECONDS", 0.0)

    def killed_at_four(done: int, *_: object) -> None:
        if done == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()  # with everything imported
    if pid == 0:
        try:
            with FileTable(cache, root) as table:
                table.add_files(sorted(os.listdir(root)), killed_at_four)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with FileTable(cache, root) as table:
        assert table._number("SELECT count(*) FROM known") == 4
        table.add_files(sorted(os.listdir(root)), silent)
        assert table.total == 6


@pytest.mark.slow
def test_decoding_processes_end_with_their_parent(photos: Photos, tmp_path: Path, cache: Path) -> None:
    root = photos(6)
    fingerprint(config(root, stream=True), cache=cache)
    code = """
import os, signal, sys
from pathlib import Path
import numpy as np, torch
from latentbench.bench.datasets import DataConfig, open_dataset
data = open_dataset(DataConfig(source="folder", path=sys.argv[2], size=24, stream=True), cache=Path(sys.argv[1]))
data.train.batch(np.arange(2), torch.device("cpu"))
print(*data.train._decoders._pool._processes, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    arguments = [sys.executable, "-P", "-c", code, str(cache), str(root)]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    processes = [int(number) for number in done.stdout.split()]
    assert processes
    await_end(processes)


@pytest.mark.slow
def test_what_was_run_on_archives_is_not_done_again_on_their_folder(
    photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In worker processes, to the end; and files are one data set wherever they lie."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    root = photos(20)
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(root, arcname=".")
    data = {"size": 16, "val": 6, "stream": True, "augment": ["flip", "resized-crop"], "name": "photos"}
    suite = {
        "name": "streamed",
        "data": {"source": "webdataset", "path": str(tmp_path / "all.tar"), **data},
        "tokenizers": [{"recipe": "kl-vae", "downsample": 4, "tsr": 12, "width": 8}],
        "training": {"steps": 4, "batch_size": 4},
        "encoder": {"width": 8, "training": {"steps": 2, "batch_size": 4}},
        "tasks": ["reconstruction"],
    }
    done = run_suite(suite, out=tmp_path / "out")  # in workers: theirs decode ahead
    assert (done.before, done.failed, done.skipped) == (0, 0, 0)
    suite["data"] = {"source": "folder", "path": str(root), **data}
    again = run_suite(suite, out=tmp_path / "out", engine="inline")
    assert (again.before, again.finished) == (done.finished, 0)
    suite["data"]["augment"] = []  # type: ignore[call-overload]
    other = run_suite(suite, out=tmp_path / "out", engine="inline")
    assert other.finished == 2  # the tokenizer and its reconstruction; data, encoder and reference are those before


def test_what_a_job_has_decoded_for_validation_serves_all(
    photos: Photos, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = config(photos(9), stream=True, augment=("flip",))
    first = open_dataset(options, cache=cache)
    rows = np.arange(len(first.val))
    first.val.batch(rows[:1], CPU)
    expected = first.val.batch(rows, CPU)
    decoded: list[int] = []
    take = Decoders.take

    def counting(self: Decoders, ranks: np.ndarray, draws: np.ndarray | None) -> np.ndarray:
        decoded.extend(ranks[:, 0].tolist())
        return take(self, ranks, draws)

    monkeypatch.setattr(Decoders, "take", counting)
    monkeypatch.setattr(Decoders, "submit", lambda *_: pytest.fail("nothing is decoded ahead that is there"))
    later = open_dataset(options, cache=cache)
    later.val.expect(rows)
    assert torch.equal(pickle.loads(pickle.dumps(later.val)).batch(rows, CPU), expected)
    assert decoded == []
    monkeypatch.undo()
    monkeypatch.setattr(Decoders, "take", counting)

    (values,) = cache.glob("datasets/*/val.bin")
    with values.open("r+b") as file:  # a sample whose bytes are others now
        file.seek(values.stat().st_size // len(rows) + 5)
        file.write(bytes([255 - file.read(1)[0]]))
    assert torch.equal(later.val.batch(rows, CPU), expected)
    assert decoded == [1]
    assert torch.equal(later.val.batch(rows, CPU, rows), first.val.batch(rows, CPU, rows)), "draws are never shared"
    assert len(decoded) == 1 + 2 * len(rows)

    values.with_suffix(".sums").unlink()
    os.truncate(values, 10)
    assert torch.equal(open_dataset(options, cache=cache).val.batch(rows, CPU), expected)
    assert len(decoded) == 1 + 3 * len(rows)
    assert torch.equal(open_dataset(options, cache=cache).val.batch(rows, CPU), expected)
    assert len(decoded) == 1 + 3 * len(rows)


def test_a_cache_without_room_shares_nothing(photos: Photos, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = config(photos(9), stream=True, size=64)
    monkeypatch.setenv("LATENTBENCH_CACHE_GB", "0.00005")
    data = open_dataset(options, cache=cache)
    rows = np.arange(len(data.val))
    assert torch.equal(data.val.batch(rows, CPU), data.val.batch(rows, CPU))
    assert not list(cache.glob("datasets/*/val.bin"))
