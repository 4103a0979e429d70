"""A worker's way from an order to a record and an exit code."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentbench.bench import worker, worker_protocol
from latentbench.bench.datasets import fingerprint
from latentbench.bench.job_context import JobContext
from latentbench.bench.jobs import Job
from latentbench.bench.kinds.data import Data
from latentbench.bench.plan import make_plan
from latentbench.bench.suite import load_suite
from latentbench.bench.training import DivergedError, InterruptedTrainingError
from latentbench.bench.worker_protocol import CHECKPOINT, WorkerRequest, start_attempt
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.record import JobResult, Record
from latentbench.results.store import Store, atomic_write
from latentbench.tokenizers import ranks

# Python 3.12 and newer say so of every process with threads; these compute nothing.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

Order_ = Callable[..., WorkerRequest]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def data_job(mini: dict[str, Any], cache: Path) -> Job:
    """The job that decodes the small suite's data."""
    suite = load_suite(mini)
    (data,) = suite.data
    plan = make_plan(suite, {data.label: fingerprint(data, cache=cache)})
    return next(job for job in plan.jobs.values() if job.kind == "data")


@pytest.fixture
def ordered(tmp_path: Path, data_job: Job, cache: Path) -> WorkerRequest:
    """An order for it."""
    out = tmp_path / "out"
    return WorkerRequest(
        job=data_job,
        root=str(out),
        cache=str(cache),
        device="cpu",
        threads=1,
        attempt=2,
        log=str(start_attempt(Store(out).job_folder(data_job.kind, data_job.key))),
        checkpoint_seconds=1,
    )


def record(order: WorkerRequest) -> Record | None:
    return Store(order.root).load_any(order.job.kind, order.job.key)


def does(monkeypatch: pytest.MonkeyPatch, action: Callable[[JobContext], JobResult]) -> None:
    monkeypatch.setattr(Data, "run", lambda self, ctx: action(ctx))


WARM = """
import contextlib, hashlib, json, os, random, sys
import numpy, torch
from pathlib import Path
from latentbench.bench import worker
from latentbench.bench.worker_protocol import WorkerRequest

requests = json.loads(sys.stdin.read())

def child(request):
    if not (pid := os.fork()):
        with open(request["log"], "w") as log, contextlib.redirect_stdout(log):
            os._exit(worker.work(request))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    folder = WorkerRequest.from_json(request).folder
    return [status, {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.safetensors")}]

def state():
    flags = torch.backends.cuda.matmul.allow_tf32, torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()
    threads = torch.get_num_threads(), torch.get_num_interop_threads(), len(os.listdir("/proc/self/task"))
    seeds = torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist()
    return repr((flags, threads, seeds, torch.get_default_dtype(), torch.cuda.is_initialized()))

worker.preload()
child(requests[0])
before, cold = state(), child(requests[1])
for kind in ("tokenizer", "prior", "reconstruction", "generation", "modelability"):
    worker.preload_for(kind, requests[1]["job"]["config"])
print(json.dumps([before == state(), cold, child(requests[2])]))
"""


@pytest.mark.slow
def test_what_a_server_has_imported_moves_no_bit(mini: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    suite = load_suite(mini, ["training.steps=5"])
    (data,) = suite.data
    plan = make_plan(suite, {data.label: fingerprint(data, cache=cache)})
    jobs = {job.kind: job for job in plan.jobs.values()}
    requests = []
    for kind in ("data", "tokenizer", "tokenizer"):
        root = Store(tmp_path / "out")
        job = jobs[kind]
        log = start_attempt(root.job_folder(job.kind, job.key))
        requests.append(
            WorkerRequest(
                job=job,
                root=str(root.root),
                cache=str(cache),
                device="cpu",
                threads=1,
                attempt=1,
                log=str(log),
                checkpoint_seconds=1e9,
            ).to_json()
        )
    done = subprocess.run(
        [sys.executable, "-P", "-c", WARM], input=json.dumps(requests), capture_output=True, text=True, check=True
    )
    unmoved, cold, warm = json.loads(done.stdout)
    assert unmoved, "an import has moved the state of torch, or of a source of chance, or started a thread"
    assert cold == warm
    assert cold[0] == 0
    assert "model.safetensors" in cold[1]


def test_a_job_leaves_its_record_and_nothing_else(ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def action(ctx: JobContext) -> JobResult:
        (ctx.folder / CHECKPOINT).touch()
        ctx.progress(1, 1, "all")
        atomic_write(ctx.folder / "model", b"12345")
        return JobResult(
            metrics=(Metric(name="m", value=1.5),), extra={"x": [1]}, artifacts=("model",), run={"train_seconds": 2.0}
        )

    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.FINISHED
    written = Store(ordered.root).load(ordered.job.kind, ordered.job.key)
    assert written is not None
    assert written.digests == {"model": hashlib.sha256(b"12345").hexdigest()}
    assert (written.artifacts, written.extra, written.metrics[0].value) == ({"model": 5}, {"x": [1]}, 1.5)
    assert written.config == json.loads(json.dumps(ordered.job.config))
    assert (written.run["attempt"], written.run["device"], written.run["threads"]) == (2, "cpu", 1)
    assert {
        "seconds",
        "started",
        "finished",
        "host",
        "peak_memory_bytes",
        "versions",
        "train_seconds",
    } <= written.run.keys()
    assert sorted(p.name for p in ordered.folder.iterdir()) == ["config.json", "log", "model", "record.json"]
    config = json.loads((ordered.folder / "config.json").read_text())
    assert config["key"] == ordered.job.key
    assert config["versions"] == ordered.job.versions


def test_the_data_job_itself(ordered: WorkerRequest) -> None:
    assert worker.work(ordered.to_json()) == worker_protocol.FINISHED
    written = record(ordered)
    assert written is not None
    assert (written.extra["train"], written.extra["val"], written.extra["skipped"]) == (64, 32, [])


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (DivergedError("loss is not finite"), "DivergedError", "loss is not finite"),
        (UserError("bad\n  file"), "UserError", "bad file"),
        (ZeroDivisionError(), "ZeroDivisionError", "ZeroDivisionError"),
        (OSError(errno.ENOENT, "No such file"), "FileNotFoundError", "[Errno 2] No such file"),
    ],
)
def test_a_failure_is_a_record_with_its_cause(
    ordered: WorkerRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    kind: str,
    message: str,
) -> None:
    def action(ctx: JobContext) -> JobResult:
        (ctx.folder / CHECKPOINT).touch()
        raise error

    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.FAILED
    written = record(ordered)
    assert written is not None
    assert written.error is not None
    assert (written.status, written.error.type, written.error.message) == ("failed", kind, message)
    assert written.error.where.startswith("test_worker.py:")
    assert "Traceback" in capsys.readouterr().out  # the log has it all
    assert (ordered.folder / CHECKPOINT).exists()  # what was trained is not thrown away


def _of_the_host(ctx: JobContext) -> JobResult:
    torch.empty(1 << 60)
    raise AssertionError("so much memory there is nowhere")


def _of_a_gpu(ctx: JobContext) -> JobResult:
    try:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    except RuntimeError as error:
        raise ValueError("while decoding") from error


def _of_numpy(ctx: JobContext) -> JobResult:
    np.empty(1 << 50)
    raise AssertionError("so much memory there is nowhere")


@pytest.mark.parametrize("action", [_of_the_host, _of_a_gpu, _of_numpy])
def test_a_lack_of_memory_is_told_apart_from_a_failure(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.OUT_OF_MEMORY
    assert record(ordered) is None
    assert worker_protocol.read_shortage(ordered.folder)
    start_attempt(ordered.folder)
    assert worker_protocol.read_shortage(ordered.folder) == "", "the next attempt's own, or none"
    worker_protocol.write_shortage(ordered.folder, "again")
    worker_protocol.clean_attempt(ordered.folder)
    assert worker_protocol.read_shortage(ordered.folder) == ""


def test_an_error_of_the_gpu_itself_is_told_apart_from_a_failure(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def action(ctx: JobContext) -> JobResult:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.BROKEN_DEVICE
    assert record(ordered) is None


def test_what_is_to_be_divided_is_divided_everywhere(ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def action(ctx: JobContext) -> JobResult:
        seen.append((ctx.batch_size, ctx.divide))
        return JobResult()

    does(monkeypatch, action)
    worker.work(ordered.to_json())
    worker.work(replace(ordered, divide=8).to_json())
    assert seen == [(64, 1), (8, 8)]
    written = record(ordered)
    assert written is not None
    assert written.run["divided"] == 8


def alone(order: WorkerRequest) -> int:
    """The exit code of a process that does the job with another one; what ends it does not end the test."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = worker.work(replace(order, peers=("cpu",)).to_json())
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _shared(ctx: JobContext, act: Callable[[], None]) -> JobResult:
    """The mean of the ranks' numbers; the second one acts before it gives its own."""
    number = torch.tensor([float(ctx.ranks.number)])
    with ctx.ranks.joined(ctx.device):
        if ctx.ranks.number:
            act()
        ranks.average_([number])
    ctx.progress(1, 1, f"by rank {ctx.ranks.number}")
    return JobResult(extra={"mean": float(number)})


@forks
def test_processes_that_share_a_job_leave_one_record(ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    does(monkeypatch, lambda ctx: _shared(ctx, lambda: None))
    assert alone(ordered) == worker_protocol.FINISHED
    written = record(ordered)
    assert written is not None
    assert written.extra["mean"] == 0.5
    assert written.run["devices"] == ["cpu", "cpu"]


def _raises(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@forks
def test_the_failure_of_one_process_of_a_job_is_the_job_s(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    does(monkeypatch, lambda ctx: _shared(ctx, _raises(ValueError("no such row"))))
    assert alone(ordered) == worker_protocol.FAILED
    written = record(ordered)
    assert written is not None
    assert str(written.error) == "ValueError: no such row"
    assert "rank 1: Traceback" in capfd.readouterr().out


@forks
@pytest.mark.parametrize(
    ("act", "code"),
    [
        (_raises(torch.OutOfMemoryError("Tried to allocate 9.00 GiB")), worker_protocol.OUT_OF_MEMORY),
        (_raises(RuntimeError("CUDA error: unspecified launch failure")), worker_protocol.BROKEN_DEVICE),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), worker_protocol.RANK_DIED),
    ],
)
def test_the_end_of_one_process_of_a_job_leaves_no_record(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], code: int
) -> None:
    does(monkeypatch, lambda ctx: _shared(ctx, act))
    assert alone(ordered) == code
    assert record(ordered) is None
    by_memory = code == worker_protocol.OUT_OF_MEMORY
    assert worker_protocol.read_shortage(ordered.folder) == ("Tried to allocate 9.00 GiB" if by_memory else "")


def test_a_stop_in_training_leaves_no_record(ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def action(ctx: JobContext) -> JobResult:
        with ctx.stop.held():
            os.kill(os.getpid(), signal.SIGTERM)
            assert ctx.stop()
            raise InterruptedTrainingError("stopped at step 3 of 9")

    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.INTERRUPTED
    assert record(ordered) is None


@pytest.mark.parametrize("after_training", [False, True])
def test_a_stop_elsewhere_cuts_the_job_off(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch, after_training: bool
) -> None:
    def action(ctx: JobContext) -> JobResult:
        if after_training:
            with ctx.stop.held():
                ctx.stop()
        os.kill(os.getpid(), signal.SIGTERM)
        return JobResult()

    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.INTERRUPTED
    assert record(ordered) is None


def test_an_interrupt_that_a_library_turns_into_another_exception_is_no_failure(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def action(ctx: JobContext) -> JobResult:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise RuntimeError("an iterator was cut off") from None
        return JobResult()

    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.INTERRUPTED
    assert record(ordered) is None


def test_a_stop_at_the_very_end_does_not_waste_the_job(ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Store.save

    def stopped_while_saving(store: Store, record: Record, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        save(store, record, **options)

    does(monkeypatch, lambda ctx: JobResult())
    monkeypatch.setattr(Store, "save", stopped_while_saving)
    assert worker.work(ordered.to_json()) == worker_protocol.FINISHED
    assert record(ordered) is not None


@pytest.mark.parametrize("plainly", [False, True])
def test_a_full_disk_is_told_apart_from_a_failure(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch, plainly: bool
) -> None:
    def action(ctx: JobContext) -> JobResult:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            told = UserError("cannot write model: No space left on device")
            raise told from (error if plainly else None)

    does(monkeypatch, action)
    assert worker.work(ordered.to_json()) == worker_protocol.UNWRITABLE
    written = record(ordered)  # there was room for this
    assert written is not None
    assert written.error is not None
    assert written.error.message == "cannot write model: No space left on device"


@pytest.mark.parametrize("fails", [False, True])
def test_a_record_that_can_t_be_saved(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: bool
) -> None:
    def action(ctx: JobContext) -> JobResult:
        if fails:
            raise DivergedError("first")
        return JobResult()

    def full(store: Store, record: Record, **_: Any) -> None:
        raise UserError("cannot write record.json: No space left on device")

    does(monkeypatch, action)
    monkeypatch.setattr(Store, "save", full)
    assert worker.work(ordered.to_json()) == worker_protocol.UNWRITABLE
    assert capsys.readouterr().out.splitlines()[-1] == "cannot write record.json: No space left on device"


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (JobResult(extra={"x": Path("p")}), "a record holds plain data, got a PosixPath"),
        (JobResult(metrics=(Metric(name="m", value=1.0),) * 2), "metrics: metric 'm' appears twice"),
    ],
)
def test_what_no_record_can_hold_is_a_failure(
    ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch, product: JobResult, message: str
) -> None:
    does(monkeypatch, lambda ctx: product)
    assert worker.work(ordered.to_json()) == worker_protocol.FAILED
    written = record(ordered)
    assert written is not None
    assert written.error is not None
    assert written.error.message == message


def test_a_log_that_can_t_be_written_is_no_failure(ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    does(monkeypatch, lambda ctx: JobResult())
    monkeypatch.setattr("builtins.print", full)
    assert worker.work(ordered.to_json()) == worker_protocol.FINISHED


def test_temporary_files_of_a_killed_predecessor_go(ordered: WorkerRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    (ordered.folder / ".model.safetensors.12345.latentbench-tmp").touch()
    does(monkeypatch, lambda ctx: JobResult())
    worker.work(ordered.to_json())
    assert not list(ordered.folder.glob(".*"))


def test_an_order_that_is_understood_otherwise_is_refused(ordered: WorkerRequest) -> None:
    data = json.loads(json.dumps(ordered.to_json()))
    data["job"]["versions"]["procedural"] = 99
    with pytest.raises(ValueError, match="is not its job's"):
        worker.work(data)


@pytest.mark.slow
def test_what_jobs_share_is_imported_before_they_are_forked(in_subprocess: Callable[[str], str]) -> None:
    # without a look at a GPU: a process that has touched one can't fork those that use it
    lines = in_subprocess(
        """
import sys
from latentbench.bench import worker
worker.preload()
import torch
count = torch._C._cuda_getDeviceCount
torch._C._cuda_getDeviceCount = lambda: sys.exit("a GPU is looked for")
for kind in ("data", "tokenizer", "encoder", "prior", "micro_prior", "reconstruction", "generation", "modelability"):
    worker.preload_for(kind, {})
for kind in ("closed_form", "probes"):
    worker.preload_for(kind, {})
torch._C._cuda_getDeviceCount = count
before = set(sys.modules)
from latentbench.tokenizers.optimisers import LBFGS, Adam, AdamW
for optimiser in (LBFGS, Adam, AdamW):
    weights = torch.nn.Parameter(torch.zeros(2))
    chosen = optimiser([weights])
    weights.grad = torch.ones(2)
    chosen.step(lambda: torch.zeros(()))
    chosen.load_state_dict(chosen.state_dict())
    chosen.zero_grad()
print(len(set(sys.modules) - before) < 10, "torch._dynamo" in sys.modules)
from latentbench.bench.grid import cells
from latentbench.bench.suite import load_suite
from latentbench.tokenizers.build import build
recipe = {"recipe": "vqgan", "downsample": 4, "width": 8}
data = {"name": "shapes", "modality": "image", "size": 16, "samples": 16}
[cell] = cells(load_suite({"name": "one", "data": data, "tokenizers": [recipe], "training": {"steps": 1}}))
worker.preload_for("tokenizer", {"tokenizer": cell.tokenizer.to_json()}, {"data": data})
before = set(sys.modules)
build(cell.tokenizer)
print(sorted(set(sys.modules) - before))
"""
    )
    assert lines.splitlines() == ["True False", "[]"]
