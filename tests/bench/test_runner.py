"""Running a suite from Python, and going on with what is there."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.bench import run
from latentbench.bench.jobs import Job
from latentbench.bench.runner import Outcome, run_suite
from latentbench.results.index import Outlined
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store

_ARTIFACTS = {
    "tokenizer": "model.safetensors",
    "latents": "train.values.npy",
    "prior": "model.safetensors",
    "reference": "reference.safetensors",
}


@pytest.fixture(autouse=True)
def _cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))


@pytest.fixture
def out(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(undisturbed, tmp_path / "out"))


def quietly(suite: Path | dict[str, Any], out: Path, engine: str = "local") -> tuple[Outcome, str]:
    console = Console(file=io.StringIO(), width=200)
    return run_suite(suite, out=out, console=console, engine=engine), console.file.getvalue()  # type: ignore[attr-defined]


def record(out: Path, kind: str) -> Path:
    return sorted((out / "jobs" / kind).glob("*/record.json"))[0]


def content(path: Path) -> dict[str, Any]:
    """A record without what may differ between two runs."""
    return {name: value for name, value in json.loads(path.read_bytes()).items() if name != "run"}


@pytest.mark.slow
def test_from_python_a_run_is_a_frame(mini: dict[str, Any], out: Path, mean_image_psnr: float) -> None:
    frame = run(mini, out=out)
    assert list(frame["recipe"]) == ["kl-vae", "vq-vae"]
    assert list(frame["tsr"]) == [12, 48]
    assert {"suite", "dataset", "modality", "seed", "elements", "bits_per_sample", "psnr", "ssim", "seconds"} <= set(
        frame
    )
    assert {"rfd_encoder_supervised", "gfd_encoder_supervised", "parameters"} <= set(frame)
    # 60 steps of 8 images gain 7.9 dB (kl-vae) and 4.9 dB (vq-vae) over a tokenizer that tells nothing.
    assert (frame["psnr"] - mean_image_psnr > [6.0, 3.5]).all()
    assert frame["nll_bits"].notna().tolist() == [False, True]


@pytest.mark.slow
def test_a_finished_run_has_nothing_to_do(mini_file: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentbench.bench.engines.local.Server", None)  # not even a server
    outcome, said = quietly(mini_file, out)
    assert (outcome.before, outcome.finished, outcome.failed, outcome.skipped) == (16, 0, 0, 0)
    assert said == "16 jobs are finished already; 0 to do\n"
    assert (outcome.root, outcome.suite.name) == (out, "mini")


@pytest.mark.slow
def test_only_what_is_damaged_is_done_again(mini_file: Path, undisturbed: Path, out: Path) -> None:
    cut, failed, short = (record(out, kind) for kind in ("generation", "modelability", "latents"))
    cut.write_bytes(cut.read_bytes()[:-100])
    Store(out).save(
        Record(kind="modelability", key=failed.parent.name, status="failed", error=Failure(type="E", message="of old"))
    )
    artifact = short.parent / "val.values.npy"
    artifact.write_bytes(artifact.read_bytes()[:-4])
    (record(out, "data").parent / "checkpoint.safetensors").touch()  # killed between its record and this
    before = {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/record.json")}
    outcome, said = quietly(mini_file, out)
    assert (outcome.before, outcome.finished, outcome.failed) == (13, 3, 0)
    assert "\n13 jobs are finished already; 3 to do\n" in said
    told = said[: said.index("13 jobs")].splitlines()
    assert [line.partition(": ")[2] for line in told] == [
        f"{short.parent}: val.values.npy has another size than its record says; it is done again",
        f"{cut}: cut short; it is done again",
    ][:: 1 if str(short.parent) in told[0] else -1]
    redone = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert redone == {cut, failed, short}
    for path in before:
        assert content(path) == content(undisturbed / path.relative_to(out))
    whole = undisturbed / artifact.relative_to(out)
    assert artifact.read_bytes() == whole.read_bytes()
    assert not (record(out, "data").parent / "checkpoint.safetensors").exists()
    assert (cut.parent / "log" / "attempt-2.log").exists()


@pytest.mark.slow
def test_a_flipped_bit_is_noticed_and_its_job_done_again(mini_file: Path, undisturbed: Path, out: Path) -> None:
    for path in out.glob("jobs/reconstruction/*/record.json"):
        path.unlink()  # something is left to be done, with what lies there
    artifacts = [record(out, kind).parent / name for kind, name in _ARTIFACTS.items()]
    for artifact in artifacts:
        content_ = bytearray(artifact.read_bytes())
        content_[len(content_) * 2 // 3] ^= 4
        artifact.write_bytes(content_)
    outcome, said = quietly(mini_file, out, "inline")
    assert (outcome.before, outcome.finished, outcome.failed) == (16 - 2 - 4, 2 + 4, 0)
    assert said.count("has another digest than its record says; it is done again\n") == 4
    for artifact in artifacts:
        assert artifact.read_bytes() == (undisturbed / artifact.relative_to(out)).read_bytes()
    for path in undisturbed.glob("jobs/*/*/record.json"):
        assert content(out / path.relative_to(undisturbed)) == content(path)


@pytest.mark.slow
def test_damage_behind_the_run_s_back_is_noticed_by_the_job_that_reads(
    mini_file: Path, undisturbed: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in out.glob("jobs/reconstruction/*/record.json"):
        path.unlink()
    monkeypatch.setattr("latentbench.bench.runner._intact", _believing)
    artifact = record(out, "tokenizer").parent / "model.safetensors"
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"\7")
    outcome, said = quietly(mini_file, out)
    assert (outcome.before, outcome.finished, outcome.failed) == (14, 3, 0)
    assert said.count("damaged") == 1
    assert artifact.read_bytes() == (undisturbed / artifact.relative_to(out)).read_bytes()
    for path in undisturbed.glob("jobs/*/*/record.json"):
        assert content(out / path.relative_to(undisturbed)) == content(path)


def _believing(store: Store, jobs: Mapping[str, Job], ended: Outlined, console: Console) -> dict[str, Job]:
    return {name: job for name, job in jobs.items() if store.load(job.kind, job.key) is not None}


@pytest.mark.slow
def test_records_hold_no_trace_of_where_and_when(undisturbed: Path) -> None:
    records = [path.read_text() for path in undisturbed.glob("jobs/*/*/record.json")]
    assert len(records) == 16
    for text in records:
        stable = json.dumps({k: v for k, v in json.loads(text).items() if k != "run"})
        assert str(undisturbed) not in stable
        assert "seconds" not in stable
    cells = json.loads((undisturbed / "suites" / "mini.json").read_text())["cells"]
    assert [cell["cell"] for cell in cells] == ["shapes kl-vae seed=0", "shapes vq-vae seed=0"]


@pytest.mark.slow
def test_a_finished_job_s_folder_holds_its_artifacts_and_no_leftovers(undisturbed: Path) -> None:
    for path in undisturbed.glob("jobs/*/*/record.json"):
        artifacts = set(json.loads(path.read_text())["artifacts"])
        names = {entry.name for entry in path.parent.iterdir()}
        assert names - {"curve.jsonl"} == artifacts | {"config.json", "log", "record.json"}
