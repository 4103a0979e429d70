from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentbench.results.activity import LOCK, last_log, mark_active
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import render
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.report.progress import progress
from latentbench.results.rows import BASE, NESTED, column_names, frame, metric_names, rows
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]


def test_one_flat_row_per_cell(folder: Path) -> None:
    table = rows([folder])
    assert len(table) == 11
    row = table[1]
    assert [name for name in row if name in BASE][:9] == list(BASE[:9])
    flat = {name: value for name, value in row.items() if name not in NESTED}
    assert flat == {
        "source": str(folder),
        "suite": "demo",
        "cell": "large-0",
        "dataset": "photos",
        "modality": "image",
        "recipe": "kl-vae",
        "label": "wide",
        "seed": 0,
        "status": "finished",
        "bottleneck_beta": 1e-06,
        "downsample": 4,
        "channels": None,
        "tsr": 6.0,
        "tsr_input": 12.0,
        "elements": 2048,
        "positions": 256,
        "bits_per_sample": 65536.0,
        "bits_per_element": 65536.0 / 12288,
        "bitrate": None,
        "discrete": False,
        "topology": "grid",
        "prior": None,
        "sampler": None,
        "parameters": 1234567,
        "prior_parameters": None,
        "flops": 1e9,
        "tokenizer_flops": 1e9,
        "prior_flops": None,
        "seconds": 5.0,  # tokenizer and reconstruction; the data set's 100 s are no cell's own
        "train_seconds": 2.5,
        "prior_seconds": None,
        "sampling_per_second": None,
        "peak_memory_bytes": 3 * 2**20,
        "real_bits_per_pixel": 1.0,
        "real_bits_per_pixel_se": None,
        "psnr": 25.0,
        "psnr_se": 0.1,
        "rfd_encoder": 5.0,
        "rfd_encoder_se": None,
    }
    assert row["axes"] == {"downsample": 4, "bottleneck.beta": 1e-06}
    assert row["protocols"]["rfd_encoder"] == "encoder net, 64 against 64"
    assert row["details"]["psnr"] == {
        "direction": "higher",
        "unit": "dB",
        "n": 64,
        "missing": 0,
        "compared": "table",
        "interval": [24.8, 25.2],
        "role": "distortion",
        "shown": "first",
    }
    assert row["jobs"]["tokenizer"] == "tokenizer/large-0"


def test_failed_and_missing_cells_say_so(folder: Path) -> None:
    status = {row["cell"]: row["status"] for row in rows([folder])}
    assert status["vq-0"] == "finished"
    assert status["vq-1"] == "failed: reconstruction: OutOfMemoryError: no memory left"
    assert status["vq-2"] == "missing"


def test_queued_running_failed_and_missing_are_four_words(folder: Path) -> None:
    def status() -> dict[str, str]:
        return {row["cell"]: row["status"] for row in rows([folder])}

    assert status()["vq-2"] == "missing"
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = Store(folder).job_folder("reconstruction", "vq-2") / "log" / "attempt-1.log"
        old.parent.mkdir(parents=True)
        old.touch()
        os.utime(old, (0, 0))  # of a run before this
        mark_active(lock)
        assert (status()["vq-2"], status()["vq-0"]) == ("queued", "finished")
        (old.parent / "attempt-2.log").touch()
        assert status()["vq-2"] == "running"
        assert status()["vq-1"].startswith("failed: ")
    assert status()["vq-2"] == "missing"
    assert last_log(old.parent.parent) == old.parent / "attempt-2.log"


def test_what_was_cancelled_has_not_failed(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    cell = add(store, "c", metrics=[])
    cell["jobs"] |= {"prior": "prior/p", "generation": "generation/none"}
    store.write_suite("s", [cell])
    by_hand = Failure(type="Cancelled", message="by hand")
    store.save(Record(kind="prior", key="p", status="failed", error=by_hand))
    (row,) = rows([store])
    assert (row["status"], row.failed_job) == ("cancelled: prior", "")
    text = render(rows([store]))
    assert "Not finished: #1 kl-vae, seed 0: cancelled: prior." in text.replace("\n  ", " ")
    assert "failed" not in text
    told = progress([tmp_path], [row])
    assert (told["finished"], told["failed"]) == (1, 0)
    cell["jobs"]["generation"] = "generation/g"
    store.write_suite("s", [cell])
    store.save(Record(kind="generation", key="g", status="failed", error=Failure(type="UserError", message="too few")))
    assert rows([store])[0]["status"] == "failed: generation: UserError: too few", "that is worse"


def test_a_failure_of_a_shared_job_is_the_cells_that_need_it(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    cell = add(store, "c", metrics=[])
    cell["jobs"]["generation"] = "generation/none"
    cell["shared"] = ["reference/r"]
    store.save(Record(kind="reference", key="r", status="failed", error=Failure(type="UserError", message="too few")))
    log = store.job_folder("reference", "r") / "log" / "attempt-1.log"
    log.parent.mkdir()
    log.touch()
    store.write_suite("s", [cell])
    (row,) = rows([store])
    assert (row["status"], row.failed_job) == ("failed: reference: UserError: too few", "reference/r")
    assert f"- Logs of failed jobs: {log}." in render(rows([store])).replace("\n  ", " ")
    del cell["jobs"]["generation"]
    store.write_suite("s", [cell])
    assert rows([store])[0]["status"] == "finished"  # which did not need it after all


def test_a_damaged_record_or_artifact_is_missing(folder: Path) -> None:
    store = Store(folder)
    path = store.job_folder("reconstruction", "vq-0") / "record.json"
    path.write_bytes(path.read_bytes()[:-3])
    store.save(Record(kind="tokenizer", key="small-0", status="finished", artifacts={"weights.safetensors": 5}))
    status = {row["cell"]: row["status"] for row in rows([folder])}
    assert status["vq-0"] == "damaged: reconstruction: cut short"
    assert (status["small-0"], status["small-1"]) == ("missing", "finished")


def test_names_never_hide_each_other(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    metrics = [Metric(name="loss", value=1.0), Metric(name="tsr", value=99.0)]
    cell = add(store, "c", metrics=metrics, axes={"tsr": 24, "train.batch-size": 8})
    prior = Record(kind="prior", key="p", status="finished", metrics=(Metric(name="loss", value=2.0),))
    store.save(Record(**{**vars(prior), "extra": {"parameters": 5, "flops": 3.0}, "run": {"seconds": 1.0}}))
    cell |= {"downsample": "2x4", "channels": 6}
    cell["jobs"]["prior"] = "prior/p"
    store.write_suite("s", [cell])
    (row,) = rows([store])
    assert (row["tsr"], row["axis_tsr"], row["train_batch_size"]) == (12.0, 24, 8)
    assert (row["downsample"], row["channels"]) == ("2x4", 6)
    assert (row["loss"], row["prior_loss"], row["reconstruction_tsr"]) == (1.0, 2.0, 99.0)
    assert (row["prior_parameters"], row["flops"], row["seconds"], row["train_seconds"]) == (5, 1e9 + 3.0, 6.0, 3.5)


def test_the_suite_tells_the_order_of_its_kinds(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    cell = add(store, "c", metrics=[Metric(name="loss", value=1.0)])
    for kind, value in (("vocoding", 2.0), ("auditing", 3.0)):
        store.save(Record(kind=kind, key="k", status="finished", metrics=(Metric(name="loss", value=value),)))
        cell["jobs"][kind] = f"{kind}/k"
    store.write_suite("s", [cell], kinds=["data", "tokenizer", "vocoding", "reconstruction"])
    (row,) = rows([store])
    assert {name: metric.value for name, metric in row.metrics.items()} == {
        "loss": 2.0,
        "reconstruction_loss": 1.0,
        "auditing_loss": 3.0,
    }
    assert row["seconds"] == 5.0  # of tokenizer and reconstruction, not of the data that the tokenizer was made from
    assert list(row)[-4:] == list(NESTED)
    assert row.keys() >= {"loss_se", "auditing_loss_se"}


def test_columns_are_stable(folder: Path) -> None:
    names = column_names(rows([folder]))
    assert names[: len(BASE) + 1] == [*BASE[:9], "bottleneck_beta", *BASE[9:]]
    metrics = ("real_bits_per_pixel", "psnr", "rfd_encoder", "si_sdr")
    assert names[len(BASE) + 1 :] == [column for name in metrics for column in (name, f"{name}_se")]
    assert metric_names(rows([folder])) == list(metrics)


def test_frame(folder: Path) -> None:
    table = frame(rows([folder]))
    assert list(table.columns) == column_names(rows([folder]))
    assert table.query("recipe == 'kl-vae' and label == 'wide'")["psnr"].mean() == pytest.approx(25.2)
    assert table["psnr"].dtype == float
    assert frame([]).empty


def test_the_same_run_given_twice_counts_once(folder: Path) -> None:
    assert len(rows([folder, folder])) == 11


def test_bad_folders_are_one_line(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no suite was run here"):
        rows([tmp_path / "empty"])
    with pytest.raises(UserError, match="nowhere: no such folder"):
        rows([tmp_path / "nowhere"])
    Store(folder).suite_path("demo").write_text("{")
    with pytest.raises(UserError, match=r"demo\.json: not a suite's cells: cut short"):
        rows([folder])


def test_importing_the_leaderboard_loads_no_heavy_package() -> None:
    code = (
        "import sys, latentbench.results.leaderboard;"
        "print([name for name in ('torch', 'pandas', 'scipy') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_what_tokenizer_and_prior_cost_stands_apart(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path / "out")
    cell = add(store, "one", metrics=[])
    run = {"seconds": 9.0, "train_seconds": 4.0}
    store.save(Record(kind="prior", key="p", status="finished", config={"prior": "ar"}, extra={"flops": 5e9}, run=run))
    store.save(Record(kind="generation", key="g", status="finished", run={"samples_per_second": 12.5}))
    cell["jobs"] |= {"prior": "prior/p", "generation": "generation/g"}
    other = add(store, "two", metrics=[])
    store.write_suite("demo", [cell, other | {"prior": "maskgit"}])
    row, planned = rows([store])
    assert (row["flops"], row["tokenizer_flops"], row["prior_flops"]) == (6e9, 1e9, 5e9)
    assert (row["prior"], row["prior_seconds"], row["sampling_per_second"]) == ("ar", 4.0, 12.5)
    assert (planned["prior"], planned["prior_flops"]) == ("maskgit", None)


def test_what_two_jobs_measure_stands_once_unless_asked_for(tmp_path: Path, add: Add) -> None:
    store = Store(tmp_path)
    first, second = (Metric(name="use", value=value, role="latents") for value in (0.5, 0.6))
    cell = add(store, "c", metrics=[first])
    store.save(Record(kind="modelability", key="m", status="finished", metrics=(second,)))
    store.write_suite("s", [cell | {"jobs": cell["jobs"] | {"modelability": "modelability/m"}}])
    (row,) = rows([store])
    assert (row["use"], row["modelability_use"]) == (0.5, 0.6)
    assert (row.metrics["use"].shown, row.metrics["modelability_use"].shown) == ("default", "asked")
