"""Files are what they hold: wherever a path enters a job, content moves its key and the place does not."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from latentbench.bench.job_files import FILES, by_content, by_place, named_files, placed
from latentbench.bench.jobs import Job
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.runner import run_suite
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError
from latentbench.results.rows import rows
from latentbench.tokenizers import weights

# A model of somebody's own that reads its one weight from a file.
GAIN = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from latentbench.tokenizers.codecs.base import Codec
from latentbench.tokenizers.codecs.config import CODECS, CodecConfig
from latentbench.tokenizers.interface import Latents
from latentbench.tokenizers.spec import LatentGrid


class Gain(Codec):
    def __init__(self, config, signal):
        super().__init__(config, signal)
        self.gain = float(Path(config.weights).read_text())

    def encode(self, signal):
        return Latents(values=signal * self.gain)

    def decode(self, latents):
        return latents.values


@dataclass(frozen=True, kw_only=True)
class GainConfig(CodecConfig):
    kind: ClassVar[str] = "gain"
    version: ClassVar[int] = 1
    builds: ClassVar[type] = Gain

    weights: str = ""

    def grids(self, signal):
        return (LatentGrid(shape=signal.shape, channels=signal.channels),)


CODECS.add("gain", GainConfig)
"""


def test_paths_become_contents_and_back(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"abc")
    config = {"codec": {"kind": "mine", "weights": str(file)}, "also": [str(file), "bin", "no/such.file", 3]}
    assert named_files(config) == {str(file): file}
    stable, places = by_content(config)
    digest = "sha256:ba7816bf8f01cfea"  # of "abc", FIPS 180-2 appendix B.1
    assert stable == {"codec": {"kind": "mine", "weights": digest}, "also": [digest, "bin", "no/such.file", 3]}
    assert places == {digest: str(file)}
    assert by_place(stable, places) == config
    assert by_content({"a": "b"}) == ({"a": "b"}, {})


def test_what_looks_like_no_path_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relu").touch()
    (tmp_path / "relu.txt").touch()
    assert named_files({"a": "relu", "b": "\0/x", "c": "x/" * 4000}) == {}
    assert list(named_files({"a": "relu.txt"})) == ["relu.txt"]


def test_a_job_is_executed_with_paths_and_recorded_without(tmp_path: Path) -> None:
    file = tmp_path / "w.bin"
    file.write_bytes(b"abc")
    config, places = by_content({"weights": str(file)})
    job = Job(kind="tokenizer", config=config, versions={}, runtime={FILES: places})
    assert placed(job).config == {"weights": str(file)}
    assert str(tmp_path) not in job.key + str(job.config)


def test_a_digest_follows_the_file(tmp_path: Path) -> None:
    file = tmp_path / "w.bin"
    file.write_bytes(b"abc")
    first = weights.content_digest(file)
    moved = file.rename(tmp_path / "other.bin")
    assert weights.content_digest(moved) == first
    moved.write_bytes(b"abd")
    assert weights.content_digest(moved) != first
    with pytest.raises(UserError, match="can't be read: No such file"):
        weights.content_digest(file)


def by_kind(plan: Plan) -> dict[str, set[str]]:
    keys: dict[str, set[str]] = {}
    for job in plan.jobs.values():
        keys.setdefault(job.kind, set()).add(job.key)
    return keys


def changed(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> set[str]:
    return {kind for kind in before if before[kind] != after[kind]}


@pytest.mark.parametrize(
    ("name", "options", "moved"),
    [
        ("alexnet_lpips", {"reconstruction": {"lpips": "on"}}, {"reconstruction"}),
        (
            "alexnet_lpips",
            {"tokenizers": {"recipe": "ae", "channels": 4, "losses": {"l2": 1.0, "lpips": 0.1}}},
            {"tokenizer", "reconstruction"},
        ),
        ("mobilenet_v2", {"features": ["encoder", "mobilenet_v2"]}, {"reference", "reconstruction"}),
        ("inception", {"features": ["inception"]}, {"reference", "reconstruction"}),
    ],
)
def test_weights_move_the_keys_of_those_who_use_them(
    name: str, options: dict[str, Any], moved: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {
        "name": "weighted",
        "data": {"size": 32},
        "tokenizers": {"recipe": "ae", "channels": 4},
        "tasks": ["reconstruction"],
    }
    suite = load_suite(table | options)
    first, second = tmp_path / "a", tmp_path / "b"
    file = weights.known[name].filenames[0]
    first.mkdir()
    (first / file).write_bytes(b"one")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(first))
    before = by_kind(make_plan(suite, {}))
    shutil.move(first, second)
    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(second))
    assert by_kind(make_plan(suite, {})) == before
    (second / file).write_bytes(b"two")
    assert changed(before, by_kind(make_plan(suite, {}))) == moved


def test_every_net_with_weights_is_identified_by_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentbench.tasks.nets import nets

    monkeypatch.setenv("LATENTBENCH_WEIGHTS", str(tmp_path))
    data = [
        {"size": 32},
        {"name": "v", "modality": "video", "size": 32},
        {"name": "w", "modality": "waveform", "sample_rate": 16000},
    ]
    for file in weights.known.values():
        (tmp_path / file.filenames[0]).write_bytes(b"x")
    table = {"name": "nets", "data": data, "tokenizers": {"recipe": "identity"}, "tasks": ["reconstruction"]}
    plan = make_plan(load_suite(table | {"features": list(nets.names())}), {})
    seen = {job.config["net"] for job in plan.jobs.values() if job.kind == "reference" and "weights" in job.config}
    assert seen == {name for name in nets.names() if nets.get(name).weights is not None}
    assert len(seen) >= 5


def test_a_recipe_is_its_content(tmp_path: Path) -> None:
    def plan(path: Path) -> Plan:
        return make_plan(
            load_suite({"name": "r", "data": {"size": 16}, "tokenizers": {"recipe": str(path), "downsample": 4}}), {}
        )

    text = 'title = "Mine"\nbase = "ae"\nchannels = 4\n'
    (tmp_path / "a").mkdir()
    recipe = tmp_path / "a" / "mine.toml"
    recipe.write_text(text)
    before = by_kind(plan(recipe))
    shutil.move(tmp_path / "a", tmp_path / "b")
    recipe = tmp_path / "b" / "mine.toml"
    assert by_kind(plan(recipe)) == before
    recipe.write_text(text.replace("4", "8"))
    assert "tokenizer" in changed(before, by_kind(plan(recipe)))


@pytest.mark.slow
def test_a_model_of_ones_own_is_redone_when_its_weights_change_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    module, file = tmp_path / "gain.py", tmp_path / "gain.txt"
    module.write_text(GAIN)
    file.write_text("0.5")

    def run(file: Path) -> tuple[int, int, float]:
        table = {
            "name": "own",
            "data": {"size": 16, "samples": 8, "val": 8},
            "tokenizers": {"recipe": "identity", "codec": {"kind": "gain", "weights": str(file)}},
            "tasks": ["reconstruction"],
            "features": [],
        }
        console = Console(file=io.StringIO())
        options: dict[str, Any] = {"imports": [str(module)], "console": console, "engine": "inline"}
        outcome = run_suite(table, out=tmp_path / "out", **options)
        (row,) = (row for row in rows([outcome.root]) if row["suite"] == "own")
        return outcome.finished, outcome.failed, row["psnr"]

    finished, failed, first = run(file)
    assert (finished, failed) == (3, 0)  # data, tokenizer, reconstruction
    assert run(file) == (0, 0, first)
    moved = file.rename(tmp_path / "elsewhere.txt")
    assert run(moved) == (0, 0, first)
    moved.write_text("0.75")
    finished, failed, second = run(moved)
    assert (finished, failed) == (2, 0)
    # Twice as near: the error is the signal's quarter instead of its half, 20 log10(2) dB less.
    assert second - first == pytest.approx(6.02, abs=0.05)
    record = next((tmp_path / "out" / "jobs" / "tokenizer").glob("*/record.json")).read_text()
    assert str(moved) not in record
