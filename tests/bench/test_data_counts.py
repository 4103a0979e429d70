"""What a suite's data sets consist of is known, and told, before anything is trained."""

from __future__ import annotations

import io
import json
import os
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from latentbench.bench import cli
from latentbench.bench.data_counts import DataCounts, check_counts, count, fingerprints
from latentbench.bench.datasets import DataConfig
from latentbench.bench.plan import make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.tasks.metrics.balls import DENSITY_K
from latentbench.tasks.metrics.config import ManifoldConfig
from latentbench.tokenizers.spec import Modality

QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Eight sounds of 1 s, one of them twice, five of 0.05 s, one damaged and one of another kind."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(13):
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            length = 8000 if i < 8 else 400
            file.writeframes((random.standard_normal(length) * 3000).astype("<i2").tobytes())
    (folder / "copy.wav").write_bytes((folder / "0.wav").read_bytes())
    (folder / "damaged.wav").write_bytes(b"RIFFxxxxWAVE")
    (folder / "notes.txt").write_text("not a sound")
    return folder


def suite(path: Path, **data: Any) -> dict[str, Any]:
    return {
        "name": "counted",
        "data": {"source": "folder", "path": str(path), **data},
        "tokenizers": [{"recipe": "pca", "channels": 4}],
        "tasks": ["reconstruction"],
    }


@pytest.fixture
def planned(capsys: pytest.CaptureFixture[str], tmp_path: Path, as_toml: Callable[..., str]) -> Callable[..., Any]:
    """Plans a suite by the command line: its exit code and what it printed."""

    def plan(table: dict[str, Any], *more: str) -> tuple[int, str, str]:
        (tmp_path / "counted.toml").write_text(as_toml(table))
        code = cli.main(["plan", str(tmp_path / "counted.toml"), *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return plan


def test_files_are_counted_by_what_became_of_them(sounds: Path, planned: Callable[..., Any]) -> None:
    table = suite(sounds, modality="waveform", sample_rate=8000, seconds=0.256, per_file=2, val=2)
    code, out, err = planned(table)
    assert (code, err) == (0, "")
    head = out.splitlines()[0]
    assert head.startswith("sounds-waveform-8000: 15 files: 8 used, 6 skipped (5 too short, 1 ")
    assert "), 1 duplicate; " in head
    assert head.endswith(" training and 2 validation samples; 1 file of other kinds passed over: .txt")
    data = json.loads(planned(table, "--format", "json")[1])["data"]["sounds-waveform-8000"]
    assert (data["files"], data["used"], data["skipped"], data["duplicates"], data["val"]) == (15, 8, 6, 1, 2)
    assert data["reasons"]["too short"] == 5
    assert data["passed_over"] == "1 file of other kinds passed over: .txt"


@pytest.mark.slow
def test_a_run_says_the_same_before_it_trains_and_the_leaderboard_after(sounds: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    table = suite(sounds, modality="waveform", sample_rate=8000, seconds=0.256, per_file=2, val=2)
    run_suite(table, out=tmp_path / "out", console=console, engine="inline")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("sounds-waveform-8000: 15 files: 8 used, 6 skipped (5 too short")
    assert lines[0].endswith("; 1 file of other kinds passed over: .txt")
    said = leaderboard([tmp_path / "out"])
    assert "- Data: 15 files: 8 used, 6 skipped (5 too short" in said


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda folder: folder.rmdir(), "data.path: no such folder: {folder}"),
        (lambda folder: None, "data.path: {folder} is empty (read are "),
        (lambda folder: (folder / "a.txt").touch(), "data.path: {folder} has no audio files (read are .aac"),
        (
            lambda folder: [(folder / f"{i}.wav").write_bytes(bytes([i] * 100)) for i in range(3)],
            "data.path: none of the 3 audio files in {folder} can be used: 3 not audio data (the first: ",
        ),
    ],
)
def test_a_plan_refuses_data_that_are_not_there(
    fill: Callable[[Path], object], message: str, tmp_path: Path, planned: Callable[..., Any]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    fill(folder)
    code, out, err = planned(suite(folder, modality="waveform"))
    assert (code, out) == (2, "")
    assert err.startswith("latentbench: " + message.format(folder=folder))
    assert err.count("\n") == 1


def test_a_plan_refuses_sounds_that_are_all_too_short(sounds: Path, planned: Callable[..., Any]) -> None:
    code, _, err = planned(suite(sounds, modality="waveform", sample_rate=8000, seconds=4.0))
    assert code == 2
    assert f"none of the 14 waveform files in {sounds} can be used: 13 too short, 1 " in err
    assert "(the first: " in err


@pytest.mark.slow
def test_a_validation_set_too_small_to_be_measured_is_refused(tmp_path: Path, planned: Callable[..., Any]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        picture = np.random.default_rng(i).integers(0, 256, (40, 40, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i}.png")
    table = suite(folder, size=32)  # the default: a tenth of the files
    code, _, err = planned(table)
    assert code == 2
    assert "data[0]: photos-image-32 has 1 validation sample, and Fréchet" in err
    assert planned(table, "--set", "data.val=2")[0] == 0
    assert planned(table, "--set", "features=[]")[0] == 0


@pytest.mark.parametrize("reference", ["val", "train"])
def test_a_score_says_how_many_samples_it_needs(mini: dict[str, Any], reference: str) -> None:
    mini["generation"] |= {"scores": ["memorisation", "manifold"], "reference": reference}
    loaded = load_suite(mini)
    label = loaded.data[0].label
    check_counts(loaded, {label: DataCounts(train=6, val=6)})
    few = DataCounts(train=5 if reference == "train" else 64, val=5 if reference == "val" else 64)
    with pytest.raises(UserError, match=r"generation.scores = manifold needs 6 or more: .* or leave it out") as caught:
        check_counts(loaded, {label: few})
    assert f"has 5 {'training' if reference == 'train' else 'validation'} samples" in str(caught.value)
    assert ManifoldConfig.fewest == DENSITY_K + 1
    mini["generation"]["samples"] = 5
    with pytest.raises(UserError, match=r"scores: manifold needs generation.samples of at least 6, got 5"):
        make_plan(load_suite(mini), {})


def test_counts_that_the_configuration_says_need_no_look(mini: dict[str, Any], tmp_path: Path) -> None:
    loaded = load_suite(mini)
    counts = count(loaded.data[0], cache=tmp_path / "none", fingerprint="", console=QUIET)
    assert counts == DataCounts(train=64, val=32)
    assert not (tmp_path / "none").exists()
    check_counts(loaded, {"shapes": DataCounts(train=64, val=2)})
    with pytest.raises(UserError, match="shapes has 1 validation sample, "):
        check_counts(loaded, {"shapes": DataCounts(train=64, val=1)})
    trained = load_suite(mini | {"generation": {**mini["generation"], "reference": "train"}})
    with pytest.raises(UserError, match="shapes has 1 training sample, "):  # which generation is compared with
        check_counts(trained, {"shapes": DataCounts(train=1, val=32)})


def test_a_fault_in_decoding_is_no_mistake_of_the_user(sounds: Path, tmp_path: Path, monkeypatch: Any) -> None:
    config = DataConfig(source="folder", path=str(sounds), modality=Modality.WAVEFORM)
    loaded = load_suite(suite(sounds, modality="waveform"))
    prints = fingerprints(loaded, QUIET, tmp_path / "cache")

    def broken(*args: Any, **options: Any) -> Path:
        raise ZeroDivisionError("here")

    monkeypatch.setattr("latentbench.bench.data_counts.decode", broken)
    with pytest.raises(RuntimeError, match=r"(?s)decoding sounds-waveform-\d+ failed.*ZeroDivisionError: here"):
        count(config, cache=tmp_path / "cache", fingerprint=prints[config.label], console=QUIET)


def test_decoding_that_the_system_ends_is_told(sounds: Path, tmp_path: Path, monkeypatch: Any) -> None:
    config = DataConfig(source="folder", path=str(sounds), modality=Modality.WAVEFORM)
    monkeypatch.setattr("latentbench.bench.data_counts.decode", lambda *args, **options: os.kill(os.getpid(), 9))
    with pytest.raises(UserError, match="was ended by the system"):
        count(config, cache=tmp_path / "cache", fingerprint="x", console=QUIET)


def test_folders_and_files_of_any_name_are_read_and_shown_inert(tmp_path: Path, planned: Callable[..., Any]) -> None:
    """A folder from an old archive (latin-1), with an escape and a bracket in its classes' names."""
    folder = tmp_path / os.fsdecode(b"caf\xe9 [x]")
    for i in range(6):
        part = folder / ("\x1b[2J\u202ea", os.fsdecode(b"\xfcb"))[i % 2]
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 20, 3)).astype(np.uint8)).save(
            tmp_path / "x.png"
        )
        (tmp_path / "x.png").rename(part / f"{i}.png")
    table = suite(tmp_path, size=16, val=2)
    code, out, _ = planned(table, "--set", f"data.path={folder}")
    assert code == 0
    assert out.startswith("caf\N{REPLACEMENT CHARACTER} [x]-image-16: 6 files: 6 used; 4 training and 2 validation")
    assert out.replace("\n", "").isprintable()
    with pytest.raises(UserError, match="its name is not valid UTF-8"):
        run_suite(table, out=folder, console=QUIET)


def test_a_plan_of_many_files_decodes_a_few(
    sounds: Path, planned: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentbench.bench.datasets.few.MANY", 5)
    table = suite(sounds, modality="waveform", sample_rate=8000, seconds=0.256, per_file=2, val=2)
    code, out, err = planned(table)
    assert (code, err) == (0, "")
    assert "15 files, of which 14 were decoded: " in out.splitlines()[0]
    assert "; about " in out.splitlines()[0]
    assert not list((tmp_path / "cache").glob("datasets/*/samples.bin"))
    said = json.loads(planned(table, "--format", "json")[1])["data"]
    assert "looked_at" in json.dumps(said)


def test_a_plan_of_a_streamed_set_decodes_nothing(sounds: Path, planned: Callable[..., Any], tmp_path: Path) -> None:
    table = suite(sounds, modality="waveform", sample_rate=8000, seconds=0.256, stream=True, val=2)
    code, out, err = planned(table)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("sounds-waveform-8000: 15 files: 14 used, 1 duplicate; 12 training")
    assert not list((tmp_path / "cache").glob("datasets/*/samples.bin"))
