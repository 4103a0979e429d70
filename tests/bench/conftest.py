"""A suite small enough to be run in seconds, and the command line as a process."""

from __future__ import annotations

import copy
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentbench.bench.datasets import open_dataset
from latentbench.bench.engines import client
from latentbench.bench.suite import load_suite
from latentbench.tasks.metrics.psnr import psnr

from .forked_server import Forker

_MINI: dict[str, Any] = {
    "name": "mini",
    "data": {"name": "shapes", "modality": "image", "size": 16, "samples": 64, "val": 32},
    "tokenizers": [
        {"recipe": "kl-vae", "downsample": 4, "tsr": 12, "width": 8},
        {"recipe": "vq-vae", "downsample": 4, "codebook_size": 64, "width": 8},
    ],
    "features": ["encoder"],
    "training": {"steps": 60, "batch_size": 8},
    "encoder": {"width": 8, "training": {"steps": 10, "batch_size": 8}},
    "prior": {
        "training": {"steps": 10, "batch_size": 8},
        "flow": {"width": 16, "layers": 1, "attention_heads": 2, "steps": 2},
        "ar": {"width": 16, "layers": 1, "attention_heads": 2},
    },
    "generation": {"samples": 32},
    "modelability": {"proxies": ["viv", "codes", "local_correlation"]},  # tests/tasks/proxies measures by all
}


@pytest.fixture
def mini() -> dict[str, Any]:
    """A suite of two cells on 16-pixel images with every task; a copy that a test may change."""
    return copy.deepcopy(_MINI)


@pytest.fixture(scope="session")
def mini_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same suite as a file."""
    path = tmp_path_factory.mktemp("suite") / "mini.toml"
    path.write_text(toml(_MINI))
    return path


@pytest.fixture
def as_toml() -> Callable[[Mapping[str, Any]], str]:
    """Writes a table as TOML."""
    return toml


@pytest.fixture
def write_suite(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    """A function that writes a suite to a file."""

    def write(suite: Mapping[str, Any]) -> Path:
        path = tmp_path / f"{suite['name']}.toml"
        path.write_text(toml(suite))
        return path

    return write


def toml(table: Mapping[str, Any]) -> str:
    """`table` as TOML."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


class Commands:
    """The `latentbench` command in processes of its own, on a cache of its own."""

    def __init__(self, cache: Path) -> None:
        self.environment = {**os.environ, "LATENTBENCH_CACHE": str(cache), "COLUMNS": "200"}
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        """Start the command; its output is captured as text."""
        return self._start("-P", "-m", "latentbench.bench.cli", *arguments, **options)

    def python(self, script: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return self._end(self._start(script, **options))

    def _start(self, *arguments: Any, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
            text=True,
            env=self.environment,
        )
        self.started.append(process)
        return process

    def __call__(self, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return self._end(self.start(*arguments, **options))

    def _end(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoded data of all commands of the session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def latentbench(cache: Path) -> Iterator[Commands]:
    """The command line; processes that a failing test leaves are ended."""
    commands = Commands(cache)
    yield commands
    for process in commands.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def undisturbed(latentbench: Commands, mini_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run of the small suite that nothing has disturbed: one for all of xdist's workers."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    out, unfinished = folder / "undisturbed", folder / "unfinished"
    with (folder / "undisturbed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.exists():
            done = latentbench("run", mini_file, "--out", unfinished)
            assert done.returncode == 0, done.stderr
            unfinished.rename(out)
    return out


@pytest.fixture(scope="session")
def mean_image_psnr(cache: Path, mini_file: Path) -> float:
    """The PSNR, in dB, of a tokenizer of the small suite that tells nothing: of the training split's mean image."""
    data = open_dataset(load_suite(str(mini_file)).data[0], cache=cache)
    train, val = (s.batch(np.arange(len(s)), torch.device("cpu")) for s in (data.train, data.val))
    return float(psnr(train.mean(0).expand_as(val), val, data_range=2.0).mean())


@pytest.fixture(scope="session")
def _forker() -> Iterator[Forker]:
    forker = Forker()
    yield forker
    forker.close()


@pytest.fixture
def fork_servers(_forker: Forker, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`(script)`: engines of this process start that job server, which needs no torch, by a fork."""
    return lambda script: monkeypatch.setattr(client, "subprocess", _forker.as_subprocess(script))


@pytest.fixture
def in_subprocess() -> Callable[[str], str]:
    """Runs Python code in a fresh interpreter and gives what it printed."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
