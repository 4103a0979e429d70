"""A command that torchrun starts several times is done once, or refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli, launcher
from latentbench.bench.hardware import cores
from latentbench.bench.jobs import Job
from latentbench.bench.runner import run_suite
from latentbench.results.errors import UserError

SUITE = {
    "name": "launched",
    "tasks": ["reconstruction"],
    "data": {"name": "texture", "size": 16, "samples": 64, "val": 64},
    "tokenizers": [{"recipe": "linear-ae", "downsample": 4, "channels": 2}],
    "training": {"steps": 20, "batch_size": 8, "devices": 2},
}


def variables(monkeypatch: pytest.MonkeyPatch, **values: int | str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    "values", [{}, {"RANK": 0, "WORLD_SIZE": 1}, {"RANK": 3}, {"WORLD_SIZE": 4}, {"RANK": "x", "WORLD_SIZE": "²"}]
)
def test_a_process_of_its_own_has_no_launcher(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, int | str]) -> None:
    variables(monkeypatch, **values)
    assert launcher.launched() is None


def test_the_process_of_rank_0_alone_does_what_the_command_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variables(monkeypatch, RANK=1, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2)
    assert cli.main(["list", "recipes"]) == 0
    assert capsys.readouterr() == ("", "")
    variables(monkeypatch, RANK=0, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2)
    assert cli.main(["list", "recipes"]) == 0
    assert "linear-ae" in capsys.readouterr().out


@pytest.mark.parametrize(("local", "here"), [({"LOCAL_WORLD_SIZE": 4}, "4 of 8"), ({}, "an unknown number of")])
def test_processes_on_several_machines_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], local: dict[str, int], here: str
) -> None:
    variables(monkeypatch, RANK=0, WORLD_SIZE=8, **local)
    assert cli.main(["run", "quickstart"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"latentbench: a launcher has started {here} processes on this machine, and the devices of")
    assert said.count("\n") == 1


def test_as_many_devices_as_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def job(devices: int) -> Job:
        return Job(kind="fake", config={}, versions={}, devices=devices)

    variables(monkeypatch, RANK=0, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2)
    launch = launcher.launched()
    assert launch is not None
    launch.check([job(1), job(2)])
    launch.check([])  # all is done
    with pytest.raises(UserError, match=r"2 processes, and training\.devices is 1: --set training\.devices=2, or"):
        launch.check([job(1)])
    with pytest.raises(UserError, match=r"2 processes, and training\.devices is 4"):
        launch.check([job(4), job(1)])


def test_from_python_another_process_than_the_first_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    variables(monkeypatch, RANK=1, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2)
    with pytest.raises(UserError, match=r"^a launcher has started 2 processes: call `run` in the one of rank 0 alone$"):
        run_suite(SUITE, out=tmp_path / "out", engine="inline", devices="cpu")
    assert not list((tmp_path / "out").glob("jobs/*/*/record.json"))


def torchrun(cache: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    words = ["-P", "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "latentbench.bench.cli", *arguments]
    environment = {**os.environ, "LATENTBENCH_CACHE": str(cache), "COLUMNS": "200", "PYTHONSAFEPATH": "1"}
    line = [sys.executable, *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="two devices of a CPU are two cores")
def test_torchrun_does_what_the_command_does(
    tmp_path: Path, cache: Path, write_suite: Callable[[Mapping[str, Any]], Path]
) -> None:
    suite, out = write_suite(SUITE), tmp_path / "out"
    done = torchrun(cache, "run", suite, "--out", out, "--devices", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("latentbench leaderboard") == 1, "said by one of them"
    (record,) = out.glob("jobs/tokenizer/*/record.json")
    assert json.loads(record.read_bytes())["run"]["devices"] == ["cpu", "cpu"]
    refused = torchrun(cache, "run", suite, "--out", out, "--devices", "cpu", "--set", "training.devices=1")
    assert refused.returncode != 0
    assert refused.stderr.count("latentbench: a launcher has started 2 processes, and training.devices is 1: ") == 1
