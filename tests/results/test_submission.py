"""Each thing that a run may lack is one line, and a run that lacks none passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.store import Store
from latentbench.results.submission import submission_gaps

RUN = {"versions": {"latentbench": "1", "torch": "2", "numpy": "2"}, "imports": {"half.py": "0123456789ab"}}
Change = Callable[[Record], Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run of two seeds that lacks nothing."""
    store = Store(tmp_path / "out")
    cells = []
    store.save(Record(kind="data", key="d", status="finished", config={"fingerprint": "ab12"}, run=RUN))
    for seed in (0, 1):
        psnr = Metric(name="psnr", value=20.0 + seed, direction="higher", protocol="p", role="distortion")
        weights = {"vgg": "0123456789abcdef"}
        config = {"weights": weights, "tokenizer": {"adapter": {"files": {"a.safetensors": "sha256:" + "0" * 16}}}}
        trained = Record(kind="tokenizer", key=f"t{seed}", status="finished", depends=("data/d",), run=RUN)
        store.save(replace(trained, config=config, extra={"flops": 1e9}))
        store.save(Record(kind="reconstruction", key=f"r{seed}", status="finished", metrics=(psnr,), run=RUN))
        jobs = {"data": "data/d", "tokenizer": f"tokenizer/t{seed}", "reconstruction": f"reconstruction/r{seed}"}
        identity = {"cell": f"c{seed}", "dataset": "d", "modality": "image", "recipe": "ae", "label": "", "seed": seed}
        cells.append({**identity, "axes": {}, "jobs": jobs})
    store.write_suite("s", cells)
    return store


def changed(store: Store, job: str, **fields: Any) -> None:
    store.save(replace(store.read(*job.split("/")), **fields))


def test_a_whole_run_lacks_nothing(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert submission_gaps(store.root) == []
    assert cli.main(["submit-check", str(store.root)]) == 0
    assert capsys.readouterr().out == "complete: nothing is missing\n"


def without(name: str) -> dict[str, Any]:
    return {**RUN, "versions": {key: value for key, value in RUN["versions"].items() if key != name}}


@pytest.mark.parametrize(
    ("job", "fields", "line"),
    [
        ("tokenizer/t0", {"run": without("torch")}, "no version of torch recorded: tokenizer/t0"),
        ("data/d", {"run": {}}, "no version of latentbench recorded: data/d"),
        (
            "tokenizer/t1",
            {"run": RUN | {"imports": {"half.py": ""}}},
            "a module of yours was imported without a hash of its file: tokenizer/t1",
        ),
        ("data/d", {"config": {"fingerprint": ""}}, "no fingerprint of the data: data/d"),
        ("tokenizer/t0", {"config": {"weights": {"vgg": "vgg.pt"}}}, "weights without a hash: tokenizer/t0"),
        ("tokenizer/t0", {"config": {"x": [{"files": {"a": "/x/a.pt"}}]}}, "weights without a hash: tokenizer/t0"),
        (
            "reconstruction/r0",
            {"metrics": (Metric(name="psnr", value=1.0, direction="higher", protocol="q", role="distortion"),)},
            "2 protocols: s, d: psnr: 'q' and 'p'",
        ),
        (
            "reconstruction/r0",
            {"status": "failed", "metrics": (), "error": Failure(type="E", message="no\nmemory")},
            "not complete: s, c0: failed: reconstruction: E: no memory",
        ),
    ],
)
def test_each_thing_is_named(
    store: Store, job: str, fields: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(store, job, **fields)
    assert line in submission_gaps(store.root)
    assert cli.main(["submit-check", str(store.root)]) == 1
    assert line in capsys.readouterr().out.splitlines()


def test_missing_cells_and_one_seed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.discard(store.read("reconstruction", "r1"))
    assert submission_gaps(store.root) == ["not complete: s, c1: missing"]
    cells: list[Any] = list(store.read_suites()[0]["cells"])
    store.write_suite("s", cells[:1])
    assert cli.main(["submit-check", str(store.root)]) == 1
    assert capsys.readouterr().out.splitlines() == ["one seed: s, d, ae (c0): expected 2 or more", "1 thing is missing"]
    changed(store, "tokenizer/t0", extra={})
    assert submission_gaps(store.root) == [], "a codec's numbers do not depend on seeds"


def test_a_damaged_artifact_is_named(store: Store) -> None:
    path = store.job_folder("tokenizer", "t0") / "weights.bin"
    path.write_bytes(b"1234")
    changed(store, "tokenizer/t0", artifacts={"weights.bin": 4}, digests={"weights.bin": "0" * 64})
    assert submission_gaps(store.root) == ["damaged: tokenizer/t0: weights.bin has another digest than its record says"]


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert cli.main(["submit-check", str(folder)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
