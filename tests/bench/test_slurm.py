"""An array of `latentbench work` through submitit's local executor: one element is killed, the others finish."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.runner import run_suite
from latentbench.bench.slurm import Element, _executor, submit, wait
from latentbench.bench.status import status
from latentbench.results.errors import UserError

from .processes import family

submitit = pytest.importorskip("submitit")

SUITE: dict[str, Any] = {
    "name": "array",
    "data": {"name": "shapes", "modality": "image", "size": 16, "samples": 64, "val": 32},
    "tokenizers": [{"recipe": "pca", "downsample": 4, "grid": {"tsr": [3, 6, 12]}}],
    "tasks": ["reconstruction"],
    "features": [],
}


@pytest.mark.slow
def test_an_array_finishes_after_one_element_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_suite(SUITE, out=out, engine="leases", devices="cpu", lease_seconds=6.0, plan_only=True)
    parameters = {"timeout_min": 10}
    one_job_at_a_time = ("--devices", "cpu", "--jobs-per-device", "1")
    first, second = submit(out, machines=2, cluster="local", parameters=parameters, arguments=one_job_at_a_time)
    deadline = time.monotonic() + 240
    while not (running := status(out).running) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running
    for pid in family(first._process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert second.result() == 0
    for element in (first, second):
        element._process.wait()
    found = status(out)
    assert (found.finished, found.waiting, len(found.failed)) == (found.jobs, 0, 0)


def test_an_element_travels_and_is_queued_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    element = pickle.loads(pickle.dumps(Element("out", ("--devices", "cpu"))))
    script = tmp_path / "work.py"
    script.write_text("import time\ntime.sleep(60)\n")

    element.process = subprocess.Popen([sys.executable, str(script)])
    again = element.checkpoint()
    assert element.process.poll() == -signal.SIGTERM
    assert again.function == Element("out", ("--devices", "cpu"))


# An element at work is told, by a signal, that its time is over.
PREEMPTED = """
import os, signal, sys, threading
from latentbench.bench.slurm import Element

sys.executable = sys.argv[1]
element = Element("out")
again = []
signal.signal(signal.SIGUSR2, lambda *_: again.append(element.checkpoint()))
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGUSR2)).start()
try:
    element()
except RuntimeError as error:
    print(error)
print(len(again))
"""


def test_an_element_is_stopped_while_it_waits(tmp_path: Path) -> None:
    work = tmp_path / "python"
    work.write_text("#!/bin/sh\nexec sleep 60\n")
    work.chmod(0o755)
    script = tmp_path / "preempted.py"
    script.write_text(PREEMPTED)
    command = [sys.executable, "-P", str(script), str(work)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=40, check=True).stdout
    assert said == "`latentbench work out` ended with exit code -15; what it said stands above\n1\n"


def test_work_that_could_not_begin_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with exit code 2"):
        Element(str(tmp_path / "none"))()


def test_without_a_cluster_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^--cluster slurm: "):
        submit(tmp_path, machines=1, cluster="slurm", parameters={"timeout_min": 1})
    with pytest.raises(UserError, match=r"^--cluster local: "):
        submit(tmp_path, machines=1, cluster="local", parameters={"timeout_mines": 1})


def test_the_options_are_those_of_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    from latentbench.bench.commands.slurm import _parameters

    line = ["slurm", "quickstart", "--machines", "8", "--gpus", "2", "--partition", "a100", "--minutes", "60"]
    options = cli._parser().parse_args(line)
    assert _parameters(options, "quickstart") == {
        "name": "latentbench-quickstart",
        "timeout_min": 60,
        "gpus_per_node": 2,
        "slurm_partition": "a100",
    }


WRONG = [
    (["--devices", "nonsense"], "expected auto, cpu, cuda, or cuda:0,1, got 'nonsense'"),
    (["--machines", "0"], "expected a whole number of at least 1"),
    (["--requeues", "0"], "expected a whole number of at least 1"),
    (["--cluster", "slurm"], "--cluster slurm: there is no sbatch here"),
    (["--set", "nonsense=1"], "nonsense"),
]


@pytest.mark.parametrize(("options", "reason"), WRONG, ids=str)
def test_what_is_wrong_is_one_line_before_anything_is_planned(
    options: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("latentbench.bench.runner.run_suite", None)
    line = ["slurm", "quickstart", "--cluster", "local", "--out", str(tmp_path / "out"), *options]
    try:
        code = cli.main(line)
    except SystemExit as exit:
        code = exit.code
    assert code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert reason in told
    assert not (tmp_path / "out").exists()


def test_an_element_that_could_not_work_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = submit(tmp_path / "none", machines=1, cluster="local", parameters={"timeout_min": 1})
    assert wait(jobs) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "no such folder" in told or "no plan to join" in told
    assert str(jobs[0].paths.stderr) in told


def test_elements_are_queued_again_as_often_as_one_says(tmp_path: Path) -> None:
    executor = _executor(tmp_path, "local", {}, 77)
    assert executor._executor.max_num_timeout == 77
    assert cli._parser().parse_args(["slurm", "quickstart"]).requeues == 100
