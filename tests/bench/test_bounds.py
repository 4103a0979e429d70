"""Suites that ask for what no machine can do: one line that names the key, in no time and no memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.cli import main
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.results.errors import UserError

BOMBS: list[tuple[str, str]] = [
    ("tokenizers.0={recipe='multi-head-vq', downsample=4, heads=1000000000}", "heads must lie between 1 and 16384"),
    ("data.samples=1000000000000", "samples must be at most 10000000000"),
    ("data.samples=10000000000", "LATENTBENCH_CACHE_GB"),
    ("data.val=1000000000000", "val must be at most"),
    ("data={modality='spectrogram', n_mels=100000, n_fft=1024}", "n_mels must be at most 1024"),
    ("data.size=100000", "LATENTBENCH_CACHE_GB"),
    (
        f"tokenizers.1.codebook_size=1{'0' * 400}",
        "whole numbers lie between -2^53 and 2^53, and this one has 401 digits",
    ),
    (f"training.steps=1{'0' * 400}", "training.steps: whole numbers lie between"),
    ("training.steps=1000000000000000", "steps must lie between 0 and 1000000000"),
    (f"training.steps=1{'0' * 5000}", "--set training.steps: a number has too many digits"),
    (
        "tokenizers.1.codebook_size=9007199254740992",
        "more than any machine has; lower width, channels or codebook_size",
    ),
    ("tokenizers.1.codebook_size=4611686018427387904", "whole numbers lie between"),
    ("tokenizers.0.width=1000000", "parameters take"),
    ("training.batch_size=1000000000000", "batch_size must lie between 1 and 1000000"),
    ("training.betas=[1.0, 1.0]", "betas must lie in [0, 1)"),
    ("training.betas=[0.9, -0.1]", "betas must lie in [0, 1)"),
    ("seeds=[-1]", "seeds[0]: a seed is not negative, got -1"),
    ("data.seed=-1", "seed must not be negative"),
    ("tokenizers.0.seeds=[-3]", "seeds[0]: a seed is not negative, got -3"),
    (f"training.x={'[' * 5000}{']' * 5000}", "nested too deeply"),
    (f"{'a.' * 3000}b=1", "a key has at most 20 parts"),
    ("tokenizers.\u00b2=1", "unknown key"),
    ("tokenizers.99999999999999999999=1", "there are only 2 entries"),
    ("name=..", "starts with no dot"),
    ("name=' x'", "no blank at its ends"),
    ('name="a\\u001b[2J"', "no control character"),
    (f"name={'x' * 300}", "has at most 80 bytes, got 300"),
]


@pytest.mark.parametrize(("change", "reason"), BOMBS, ids=[change[:40] for change, _ in BOMBS])
def test_a_bomb_is_one_line_in_no_time(mini: dict[str, Any], change: str, reason: str) -> None:
    started = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        make_plan(load_suite(mini, [change]), {})
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_what_this_machine_cannot_hold_another_may(
    mini: dict[str, Any], write_suite: Callable[[Any], Path], capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 20_000}  # 82 MB
    monkeypatch.setattr("latentbench.bench.bounds.os.sysconf", sizes.__getitem__)
    assert make_plan(load_suite(mini), {}).warnings == ()
    mini["tokenizers"][1]["codebook_size"] = 2**20  # 1,048,576 codes of 8 numbers, 20 bytes each
    assert main(["plan", str(write_suite(mini))]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ")
    assert "vq-vae" in line
    assert line.endswith("parameters take 0.168 GB in training; this machine has 0.0819")


def test_axes_are_multiplied_before_they_are_expanded(mini: dict[str, Any]) -> None:
    mini["tokenizers"][0]["grid"] = {
        key: [0.001 * i for i in range(1, 2001)] for key in ("training.lr", "training.ema")
    }
    started = time.process_time()
    with pytest.raises(UserError, match=r"tokenizers\[0\].grid: more than 100000 cells \(2000 training.lr x 2000"):
        make_plan(load_suite(mini), {})
    mini["tokenizers"][0].pop("grid")
    mini["seeds"] = list(range(200_000))
    with pytest.raises(UserError, match="more than 100000 cells"):
        make_plan(load_suite(mini), {})
    assert time.process_time() - started < 5


def test_an_error_is_one_inert_line(
    mini: dict[str, Any], write_suite: Callable[[Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write_suite(mini)
    for change in (
        "tasks=['\x1b[2J\u202egnp']",
        f"tasks=['{'x' * 10_000}']",
        "tasks=['a\\nb']",
        f"recipe={'y' * 5000}",
    ):
        assert cli.main(["plan", str(suite), "--set", change]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.isprintable()
        assert len(line) <= len("latentbench: ") + 300


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">/dev/full", "2>/dev/full", ">&- 2>&-"])
def test_outputs_that_are_closed_or_full(redirect: str) -> None:
    command = f"{sys.executable} -P -m latentbench.bench.cli list recipes {redirect}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr + done.stdout
    assert done.returncode == (2 if redirect == ">/dev/full" else 0)
    assert len(done.stderr.splitlines()) == (redirect == ">/dev/full")


@pytest.mark.slow
def test_an_ascii_terminal_gets_escapes(mini: dict[str, Any], write_suite: Callable[[Any], Path]) -> None:
    mini["data"]["name"] = "\u00e9t\u00e9"
    command = [sys.executable, "-P", "-m", "latentbench.bench.cli", "plan", write_suite(mini)]
    done = subprocess.run(command, capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert done.returncode == 0, done.stderr
    assert b"\\xe9t\\xe9" in done.stdout
