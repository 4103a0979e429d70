"""Folders made one: what is copied, what is refused, and that nothing is half done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.bench.engines.interface import EngineSettings
from latentbench.bench.merge import merge
from latentbench.bench.plan import Plan, make_plan
from latentbench.bench.plan_file import read_plans, write_plan
from latentbench.bench.status import find, status
from latentbench.bench.suite import load_suite
from latentbench.results.digest import file_digest
from latentbench.results.errors import UserError
from latentbench.results.metric import Metric
from latentbench.results.record import Failure, Record
from latentbench.results.rows import rows
from latentbench.results.store import Store


def job(out: Path, key: str, *, psnr: float = 20.0, status: Any = "finished", **run: Any) -> None:
    store = Store(out)
    folder = store.job_folder("reconstruction", key)
    (folder / "log").mkdir(parents=True)
    (folder / "weights").write_bytes(b"w")
    (folder / "curve.jsonl").write_text('{"step": 1}\n')
    (folder / "log" / "attempt-1.log").write_text(f"of {out.name}")
    store.save(
        Record(
            kind="reconstruction",
            key=key,
            status=status,
            metrics=(Metric(name="psnr", value=psnr, direction="higher"),),
            artifacts={"weights": 1},
            digests={"weights": file_digest(folder / "weights")},
            error=Failure(type="E", message="m") if status == "failed" else None,
            run=run,
        )
    )


def suite(out: Path, name: str, **cells: str) -> None:
    facts = {"dataset": "d", "modality": "image", "recipe": "r", "axes": {}, "seed": 0}
    written = [
        {"cell": cell, "label": cell, **facts, "jobs": {"reconstruction": f"reconstruction/{key}"}}
        for cell, key in cells.items()
    ]
    Store(out).write_suite(name, written, kinds=["reconstruction"])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path, Path]:
    a, b = tmp_path / "a", tmp_path / "b"
    job(a, "one", host="a")
    job(a, "broken", status="failed")
    suite(a, "s", x="one", y="broken")
    job(b, "one", host="b")
    job(b, "broken")
    job(b, "more", psnr=30.0)
    suite(b, "s", y="broken", z="more")
    suite(b, "t", z="more")
    return a, b, tmp_path / "c"


def test_what_several_have_done_is_one_table(two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b, c = two
    assert cli.main(["merge", str(a), str(b), "--out", str(c)]) == 0
    assert capsys.readouterr().out == f"3 records copied to {c}, 0 were there already\n"
    table = {(row["suite"], row["cell"]): (row["status"], row["psnr"]) for row in rows([c])}
    assert table == {
        ("s", "x"): ("finished", 20.0),
        ("s", "y"): ("finished", 20.0),  # the finished record, not the failed one
        ("s", "z"): ("finished", 30.0),
        ("t", "z"): ("finished", 30.0),
    }
    store = Store(c)
    one = store.load("reconstruction", "one")
    assert one is not None
    assert one.run["host"] == "a"
    assert (store.job_folder("reconstruction", "one") / "log" / "attempt-1.log").read_text() == "of a"
    assert (store.job_folder("reconstruction", "one") / "curve.jsonl").is_file()  # which the report draws
    assert all(store.damage(record) is None for record in store.iterate())
    assert cli.main(["merge", str(a), str(b), "--out", str(c)]) == 0
    assert capsys.readouterr().out == f"0 records copied to {c}, 3 were there already\n"


def test_conflicts_are_named_and_nothing_is_written(
    two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = two
    job(a, "more", psnr=31.0)
    suite(b, "s", x="more")
    assert cli.main(["merge", str(a), str(b), "--out", str(c)]) == 2
    said = capsys.readouterr().err
    assert f"reconstruction/more has another psnr (31.0, 30.0) in {a} and in {b}" in said
    assert f"x of the suite 's' has other jobs in {a} and in {b}" in said
    assert "2 conflicts; nothing was written" in said
    assert not list(c.glob("jobs/*")) + list(c.glob("suites/*"))


def test_a_claim_of_two_meanings_is_a_conflict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both would stand in the merged suite, and no command would read it."""
    folder = tmp_path / ("x" * 120)  # both folders are named in full, long as their names are
    for name, metric in (("a", "psnr"), ("b", "ssim"), ("c", "psnr")):
        job(folder / name, name)
        Store(folder / name).write_suite("s", [], kinds=["reconstruction"], claims=[{"id": "A7", "metric": metric}])
    a, b, c = (str(folder / name) for name in "abc")
    assert cli.main(["merge", a, b, "--out", str(tmp_path / "ab")]) == 2
    assert f"claim 'A7' of the suite 's' is another in {a} and in {b}" in capsys.readouterr().err
    assert not list((tmp_path / "ab").glob("*/*"))
    assert cli.main(["merge", a, c, "--out", str(tmp_path / "ac")]) == 0
    assert [suite["claims"] for suite in Store(tmp_path / "ac").read_suites()] == [[{"id": "A7", "metric": "psnr"}]]


def test_cells_that_differ_in_their_tokenizer_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a run with --extend leaves them: of one name, each with its own tokenizer."""
    facts = {"cell": "x", "dataset": "d", "modality": "image", "recipe": "r", "label": "x", "axes": {}, "seed": 0}

    def write(out: Path, *keys: str) -> None:
        cells = []
        for key in keys:
            job(out, key, psnr=float(key))
            cells.append(facts | {"jobs": {"tokenizer": f"tokenizer/{key}", "reconstruction": f"reconstruction/{key}"}})
        Store(out).write_suite("s", cells, kinds=["tokenizer", "reconstruction"])

    a, b, c, d = (tmp_path / name for name in "abcd")
    write(a, "1", "2")
    write(b, "2", "3")
    write(c, "4")
    assert cli.main(["merge", str(a), str(b), "--out", str(d)]) == 0
    (merged,) = Store(d).read_suites()
    assert [cell["jobs"]["tokenizer"] for cell in merged["cells"]] == [f"tokenizer/{key}" for key in "123"]
    assert sorted(row["psnr"] for row in rows([d])) == [1.0, 2.0, 3.0]
    capsys.readouterr()
    assert cli.main(["merge", str(a), str(c), "--out", str(d)]) == 2  # another run of a suite of this name
    assert f"x of the suite 's' has other jobs in {d} and in {c}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["gate", "halving"])
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_gates_the_one_that_knew_of_more_counts(two: tuple[Path, Path, Path], swapped: bool, kind: str) -> None:
    *sources, out = two
    for source, absent in zip(sources, (["modelability/x"], []), strict=True):
        extra = {"absent": absent, "candidates": {"a": {"place": 1 + len(absent), "note": ""}}}
        Store(source).save(Record(kind=kind, key="g", status="finished", extra=extra))
    merge(sources[::-1] if swapped else sources, out)
    record = Store(out).load(kind, "g")
    assert record is not None
    assert record.extra["absent"] == []


def test_the_runs_score_goes_along_and_two_are_a_conflict(
    two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = two
    (b / "score.json").write_text("one")
    assert cli.main(["merge", str(a), str(b), "--out", str(c)]) == 0
    assert (c / "score.json").read_text() == "one"
    (a / "score.json").write_text("one")
    assert cli.main(["merge", str(a), str(b), "--out", str(c)]) == 0
    (a / "score.json").write_text("other")
    for out in (c, c.parent / "d"):
        capsys.readouterr()
        assert cli.main(["merge", str(a), str(b), "--out", str(out)]) == 2
        first = c if out == c else a
        assert f"score.json is another score in {first} and in " in capsys.readouterr().err
    assert (c / "score.json").read_text() == "one"
    assert not list((c.parent / "d").glob("jobs/*")) + list((c.parent / "d").glob("*.json"))


def test_damaged_records_are_left_out_and_named(
    two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = two
    (Store(a).job_folder("reconstruction", "one") / "weights").write_bytes(b"x")
    assert cli.main(["merge", str(a), str(b), "--out", str(c)]) == 1
    assert "left out, damaged:" in capsys.readouterr().err
    one = Store(c).load("reconstruction", "one")
    assert one is not None
    assert one.run["host"] == "b"


def test_a_folder_is_not_merged_into_itself(two: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b, _ = two
    assert cli.main(["merge", str(a), str(b), "--out", str(a)]) == 2
    assert "is one of those that are merged" in capsys.readouterr().err
    assert cli.main(["merge", str(a), str(a / "none"), "--out", str(a.parent / "d")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_boards_and_runs_at_once_are_refused_with_what_takes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path / "a", "one")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "board.json").write_text("{}")
    out = tmp_path / "out"
    for board in (tmp_path / "site", tmp_path / "site" / "board.json"):
        with pytest.raises(UserError, match=r"board\.json: is a board, .* `latentbench publish DIR\.\.\. "):
            merge([tmp_path / "a", board], out)
        assert cli.main(["merge", str(board), str(tmp_path / "a"), "--out", str(out)]) == 2
        assert cli.main(["merge", str(board), str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "none: no such file or folder; expected a board" in capsys.readouterr().err
    with pytest.raises(UserError, match="expected the --out folder of a run"):
        merge([tmp_path / "site"], out)
    assert not out.exists()


SUITES = [
    {"name": "s", "data": {"size": 16}, "tokenizers": [{"recipe": "pca", "grid": {"channels": [channels]}}]}
    for channels in (4, 8)
]


@pytest.fixture
def halves(tmp_path: Path) -> tuple[Path, Path, list[Plan]]:
    """Two folders with a part of one suite each, planned for `work` and half done."""
    plans = [make_plan(load_suite(suite), {"shapes": "abc"}) for suite in SUITES]
    for folder, plan in zip(("a", "b"), plans, strict=True):
        store = Store(tmp_path / folder)
        store.write_suite("s", [cell.to_json() for cell in plan.cells], kinds=["data", "tokenizer"])
        write_plan(plan, "leases", EngineSettings(store=store, cache=tmp_path / "cache"))
        for planned in [*plan.jobs.values()][:3]:
            store.save(Record(kind=planned.kind, key=planned.key, status="finished"))
    return tmp_path / "a", tmp_path / "b", plans


def test_what_is_unfinished_can_be_worked_on_where_it_was_merged(
    halves: tuple[Path, Path, list[Plan]], tmp_path: Path
) -> None:
    a, b, plans = halves
    merge([a, b], tmp_path / "c")
    jobs = {**plans[0].jobs, **plans[1].jobs}
    assert len(jobs) > len(plans[0].jobs)
    done = {*[*plans[0].jobs][:3], *[*plans[1].jobs][:3]}
    found = status(tmp_path / "c")
    assert (found.jobs, found.finished, found.waiting) == (len(jobs), len(done), len(jobs) - len(done))
    (plan,) = read_plans(Store(tmp_path / "c"))
    assert plan.jobs == {**read_plans(Store(a))[0].jobs, **read_plans(Store(b))[0].jobs}
    assert plan.jobs.keys() == jobs.keys()
    assert plan.engine == "leases"
    order = list(plan.jobs)
    assert all(order.index(of) < order.index(name) for name, job in plan.jobs.items() for of in job.depends.values())


@pytest.mark.parametrize("with_plan", [True, False])
def test_a_status_counts_what_was_merged_into_a_folder_with_a_plan(
    halves: tuple[Path, Path, list[Plan]], with_plan: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, plans = halves
    if not with_plan:  # of an older version
        shutil.rmtree(b / "plans")
    merge([b], a)
    assert status(a).jobs == len({**plans[0].jobs, **plans[1].jobs})
    added = [job for job in plans[1].jobs.values() if job.id not in plans[0].jobs][-1]
    assert find(a, added.id).key == added.key
    assert cli.main(["cancel", str(a), added.id]) == 0
    assert status(a).cancelled == 1
    assert cli.main(["retry", str(a), "--failed"]) == 0
    assert cli.main(["logs", str(a), added.id]) == 2
    assert "it has no log" in capsys.readouterr().err


def test_a_plan_that_cannot_be_read_is_left_out_and_named(
    halves: tuple[Path, Path, list[Plan]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, plans = halves
    (path,) = (b / "plans").iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    assert cli.main(["merge", str(a), str(b), "--out", str(tmp_path / "c")]) == 1
    assert f"left out, a plan, by which nobody can work there: {path}: not a plan" in capsys.readouterr().err
    assert status(tmp_path / "c").jobs == len({**plans[0].jobs, **plans[1].jobs})


def test_a_folder_without_a_run_is_refused_and_leaves_nothing(
    two: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, _ = two
    (tmp_path / "empty").mkdir()
    suite(b, "s", x="more")  # other jobs than in a
    for source in ("empty", "none", "b"):
        assert cli.main(["merge", str(a), str(tmp_path / source), "--out", str(tmp_path / "new" / "deep")]) == 2
        assert not (tmp_path / "new").exists()
    told = capsys.readouterr().err
    assert f"{tmp_path / 'empty'}: no run has been planned here" in told
    assert "no such folder" in told
    assert "conflict: x of the suite 's'" in told
    (tmp_path / "there").mkdir()
    assert cli.main(["merge", str(tmp_path / "empty"), "--out", str(tmp_path / "there")]) == 2
    assert (tmp_path / "there").is_dir()
