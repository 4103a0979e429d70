"""The command line: exit codes, and one line for every mistake."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli

Latentbench = Callable[..., Any]


@pytest.fixture
def mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """Gives the line that a command prints before it exits with 2; it must print nothing else."""
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))

    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: Any) -> str:
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as error:  # argparse's way
            code = error.code  # type: ignore[assignment]
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.count("\n") == 1, err
        return err.strip()

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "latentbench: the following arguments are required: COMMAND (see latentbench --help)"),
        (["rum"], "latentbench: argument COMMAND: invalid choice: 'rum' (choose from "),
        (["run"], "latentbench run: the following arguments are required: SUITE (see latentbench run --help)"),
        (["run", "quikstart"], "latentbench: unknown suite 'quikstart'; did you mean 'quickstart'?"),
        (["plan", "quikstart"], "latentbench: unknown suite 'quikstart'; did you mean 'quickstart'?"),
        (["plan", "quickstart", "--format", "jsn"], "latentbench plan: argument --format: invalid choice: 'jsn'"),
        (["list", "tokenizer"], "latentbench list: argument "),
        (["plot", "/no/such", "--x", "tsr", "--y", "psnr"], "latentbench: /no/such: no such folder; give the --out "),
        (["plot", "runs", "--x", "tsr"], "latentbench: --kind lines: name a column with --y, as in --y psnr"),
        (["gallery", "/no/such"], "latentbench: /no/such: no such folder; give the --out folder of a run"),
        (["leaderboard", "/no/such"], "latentbench: /no/such: no such folder; give the --out folder of a run"),
        (
            ["run", "quickstart", "--jobs-per-device", "0"],
            "latentbench run: argument --jobs-per-device: expected a whole number of at least 1, got '0'",
        ),
        (
            ["run", "quickstart", "--checkpoint-seconds", "soon"],
            "latentbench run: argument --checkpoint-seconds: expected a number of seconds, got 'soon'",
        ),
        (
            ["run", "quickstart", "--engine", "lokal"],
            "latentbench: --engine: unknown engine 'lokal'; did you mean 'local'?",
        ),
        (
            ["run", "quickstart", "--devices", "gpu"],
            "latentbench run: argument --devices: expected auto, cpu, cuda, or cuda:0,1, got 'gpu'",
        ),
        (
            ["run", "quickstart", "--set", "x"],
            "latentbench: --set x: expected KEY=VALUE, such as --set data.path=photos",
        ),
    ],
)
def test_commands_that_can_t_be(mistake: Callable[..., str], arguments: list[str], line: str) -> None:
    assert mistake(*arguments).startswith(line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            "tokenizers.0.recipe=kl-vea",
            "{suite}: tokenizers[0].recipe: unknown recipe 'kl-vea'; did you mean 'kl-vae'?",
        ),
        ("trainig.steps=3", "{suite}: unknown key 'trainig'; did you mean 'training'?"),
        ('training.steps="3"', '{suite}: training: steps: input should be a valid integer, got "3"'),
        ("tokenizers.0.tsr=11", "{suite}: tokenizers[0].tsr: tsr 11 needs 4.364 channels on 4x4 latent positions"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_suites_that_can_t_be(
    mistake: Callable[..., str], mini_file: Path, tmp_path: Path, command: str, change: str, line: str
) -> None:
    out = ["--out", tmp_path / "out"] if command == "run" else []
    message = mistake(command, mini_file, "--set", change, *out)
    assert message.startswith("latentbench: " + line.format(suite=mini_file))
    assert not (tmp_path / "out").exists()


def test_folders_that_can_t_be_read(mistake: Callable[..., str], mini_file: Path, tmp_path: Path) -> None:
    def told(path: Path) -> str:
        changes = ["--set", "data.source=folder", "--set", f"data.path={path}", "--set", "data.val=0.1"]
        return mistake("run", mini_file, *changes, "--out", tmp_path / "out")

    assert told(tmp_path / "photos").startswith(f"latentbench: data.path: no such folder: {tmp_path / 'photos'}")
    (tmp_path / "empty").mkdir()
    assert told(tmp_path / "empty").startswith(f"latentbench: data.path: {tmp_path / 'empty'} is empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    assert str(tmp_path / "other") in told(tmp_path / "other")


@pytest.mark.slow
def test_output_that_is_in_the_way(mistake: Callable[..., str], mini_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert mistake("run", mini_file, "--out", file) == f"latentbench: --out {file}: can't be written: File exists"
    assert (
        mistake("run", mini_file, "--out", file / "x")
        == f"latentbench: --out {file / 'x'}: can't be written: Not a directory"
    )
    out = tmp_path / "out"
    out.mkdir()
    (out / "suites").touch()
    assert mistake("run", mini_file, "--out", out).startswith(f"latentbench: cannot write {out}/suites/mini.json: ")
    (out / "suites").unlink()
    (out / "jobs").touch()
    assert mistake("run", mini_file, "--out", out).startswith(f"latentbench: cannot write {out}/jobs/")


def test_a_cache_that_can_t_be_written(
    mistake: Callable[..., str], mini_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("LATENTBENCH_CACHE", str(file))
    expected = f"latentbench: the cache {file} can't be written: File exists; set LATENTBENCH_CACHE to another folder"
    assert mistake("run", mini_file, "--out", tmp_path / "out") == expected


def test_two_runs_on_one_folder(mistake: Callable[..., str], mini_file: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        message = mistake("run", mini_file, "--out", tmp_path)
    assert message == f"latentbench: --out {tmp_path}: another run is using it; wait for it or choose another --out"


def test_a_disk_without_locks_is_not_taken_for_another_run(
    mistake: Callable[..., str], mini_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("latentbench.bench.folder_lock.fcntl.flock", no_locks)
    message = mistake("run", mini_file, "--set", "data.source=procedural", "--out", tmp_path)
    cure = "choose an --out on a disk with locks"
    assert message == f"latentbench: --out {tmp_path}: can't be locked (No locks available); {cure}"


def test_a_mistake_is_no_traceback_in_a_process_either(latentbench: Latentbench) -> None:
    done = latentbench("run", "quikstart")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "latentbench: unknown suite 'quikstart'; did you mean 'quickstart'?\n"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["--help"], ["run", "--help"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"latentbench {version('latentbench')}\n")


def test_plan_prints_cells(capsys: pytest.CaptureFixture[str], mini_file: Path) -> None:
    assert cli.main(["plan", str(mini_file), "--set", "seeds=[0, 1]", "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 4


@pytest.mark.slow
def test_a_reader_that_has_seen_enough(latentbench: Latentbench) -> None:
    read, write = os.pipe()
    os.close(read)
    done = latentbench("list", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_run_prints_its_leaderboard_and_so_does_the_command(
    latentbench: Latentbench,
    undisturbed: Path,
    mini_file: Path,
    tmp_path: Path,
    mean_image_psnr: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    done = latentbench("run", mini_file, "--out", out)  # which finds everything done
    assert done.returncode == 0
    assert done.stderr == "16 jobs are finished already; 0 to do\n"
    assert "psnr" in done.stdout
    assert f"records: {out}; this table again: latentbench leaderboard {out}" in done.stdout
    again = latentbench("leaderboard", out)
    assert done.stdout.startswith(again.stdout.rstrip())
    assert cli.main(["leaderboard", str(out), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    rows = rows["rows"] if isinstance(rows, dict) else rows
    gain = {row["recipe"]: row["psnr"] - mean_image_psnr for row in rows}
    assert gain.keys() == {"kl-vae", "vq-vae"}
    assert min(gain.values()) > 3.5  # dB; see test_run.py


@pytest.mark.slow
def test_a_plot_and_a_gallery_of_a_run(undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot, folder = tmp_path / "plot.svg", tmp_path / "gallery"
    assert cli.main(["plot", str(undisturbed), "--x", "prior_flops", "--y", "psnr", "--out", str(plot)]) == 0
    assert cli.main(["gallery", str(undisturbed), "--out", str(folder), "--where", "recipe=kl-vae"]) == 0
    written = [plot, folder / "mini_shapes_kl-vae_seed=0.png", folder / "index.html"]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    assert all(path.stat().st_size > 500 for path in written[:2])


@pytest.mark.slow
def test_records_tell_what_training_and_sampling_cost(undisturbed: Path) -> None:
    for path in (undisturbed / "jobs" / "prior").glob("*/record.json"):
        record = json.loads(path.read_text())
        assert [row["step"] for row in record["extra"]["curve"]] == list(range(1, 11))
        assert record["extra"]["flops"] > 0
        took = record["run"]["train_seconds"]  # in whole milliseconds, of which a fast machine needs few
        assert 80 / record["run"]["samples_per_second"] == pytest.approx(took, rel=0.001, abs=0.00051)
        assert record["run"]["peak_memory_bytes"] > 1e7
    for path in (undisturbed / "jobs" / "generation").glob("*/record.json"):
        run = json.loads(path.read_text())["run"]
        assert 32 / run["samples_per_second"] == pytest.approx(run["sample_seconds"], rel=0.001, abs=0.00051)
        assert run["peak_memory_bytes"] > 1e7


@pytest.mark.slow
def test_failed_cells_are_told_and_the_others_finish(
    cache: Path, mini_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "200")
    short = ["--set", 'tasks=["modelability"]', "--set", "training.steps=10", "--engine", "inline"]
    diverging = ["--set", "tokenizers.0.training.lr=1e30", "--out", str(tmp_path)]
    assert cli.main(["run", str(mini_file), *short, *diverging]) == 1
    told, said = capsys.readouterr()
    assert "failed tokenizer shapes kl-vae seed=0: DivergedError: " in said
    assert "skipped latents shapes kl-vae seed=0: tokenizer/" in said
    assert "finished modelability shapes vq-vae seed=0" in said
    last = said.splitlines()[-1]
    assert last.startswith("latentbench: 1 job failed and 2 that need them were skipped; logs: ")
    assert "Traceback" not in said
    assert "vq-vae" in told


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_line(latentbench: Latentbench, mini_file: Path, tmp_path: Path) -> None:
    def no_file_above(size: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    # Large enough for the data, too small for a checkpoint: a worker meets the limit.
    short = ["--set", 'tasks=["modelability"]', "--set", "training.steps=10"]
    done = latentbench("run", mini_file, *short, "--out", tmp_path / "a", preexec_fn=no_file_above(70_000))
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("latentbench: tokenizer shapes ")
    assert lines[-1].endswith("checkpoint.safetensors: File too large")
    assert all("] finished " in line or "] started " in line for line in lines[:-1])
    assert not list((tmp_path / "a").rglob("*.latentbench-tmp"))
    # Too small for the suite's own file: this process meets it.
    done = latentbench("run", mini_file, "--out", tmp_path / "b", preexec_fn=no_file_above(100))
    assert done.returncode == 2
    assert done.stderr == f"latentbench: cannot write {tmp_path / 'b'}/suites/mini.json: File too large\n"


@pytest.mark.slow
@pytest.mark.parametrize("redirect", [">&- 2>&-", ">&- 2>/dev/full"])
def test_a_run_goes_on_without_anywhere_to_say_so(
    latentbench: Latentbench, mini_file: Path, undisturbed: Path, tmp_path: Path, redirect: str
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    record = next(out.glob("jobs/modelability/*/record.json"))
    if redirect == ">&- 2>&-":  # what workers start from; without anything to do, this process alone has a say
        record.unlink()
    command = f"{sys.executable} -P -m latentbench.bench.cli run {mini_file} --out {out} {redirect}"
    done = subprocess.run(["sh", "-c", command], check=False, env=latentbench.environment)
    assert done.returncode == 0
    assert record.is_file()


def test_an_interrupt_before_anything_is_imported_is_one_line(in_subprocess: Callable[[str], str]) -> None:
    heavy = in_subprocess("import sys, latentbench.bench.cli; print({'numpy', 'pydantic', 'rich'} & set(sys.modules))")
    assert heavy == "set()\n"  # so that little can be interrupted before `main` is there to catch it
    code = (
        "import os, signal, sys; from latentbench.bench import cli; cli._parser = lambda *_: os.kill(os.getpid(), 2)\n"
    )
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
    code += "sys.stderr = sys.stdout; code = cli.main([]); os.kill(os.getpid(), 2); print(code)"  # and once more
    line = "latentbench: interrupted; the same command continues where it stopped"
    assert in_subprocess(code) == f"{line}\n130\n"


@pytest.mark.slow
def test_names_that_look_like_markup_on_a_terminal(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(cache))
    (tmp_path / "odd.toml").write_text(
        'name = "odd"\ntasks = ["reconstruction"]\ndata = {name = "[/x]", size = 16, samples = 64, val = 16}\n'
        'tokenizers = [{recipe = "pca", label = "[/red]", channels = 4}]\nfeatures = []\n'
    )
    ours, theirs = pty.openpty()
    with ThreadPoolExecutor(1) as reader:  # a terminal takes a few lines only before they are read
        reading = reader.submit(read_to_the_end, ours)
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            code = cli.main(["run", str(tmp_path / "odd.toml"), "--out", str(tmp_path / "out"), "--engine", "inline"])
        shown = reading.result(60)
    os.close(ours)
    assert code == 0, shown.decode()
    assert b"finished data [/x]" in shown
    assert b"[/red]" in shown


def read_to_the_end(terminal: int) -> bytes:
    shown = b""
    with suppress(OSError):  # the end of a terminal
        while block := os.read(terminal, 65536):
            shown += block
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_that_can_t_encode_degrades(
    latentbench: Latentbench, mini_file: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = latentbench("plan", mini_file, "--set", 'data.name="λ 中"')
    assert (done.returncode, done.stderr) == (0, "")
    assert "kl-vae" in done.stdout


def test_a_command_has_its_options_and_leaves_others_alone() -> None:
    whole, one = (cli._parser(named)._subparsers._group_actions[0].choices for named in (None, "status"))  # type: ignore[union-attr]
    assert list(one) == list(whole)  # type: ignore[arg-type]
    assert one["status"].format_help() == whole["status"].format_help()  # type: ignore[index]
    assert all(len(parser._actions) == 1 for name, parser in one.items() if name != "status")  # type: ignore[union-attr]
    assert len(whole["run"]._actions) > 1  # type: ignore[index]
