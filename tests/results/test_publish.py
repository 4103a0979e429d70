"""A board of several runs: its tables are the leaderboard's, its file reads back as the runs, its page is inert."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.results.board import _digest, read_board
from latentbench.results.canonical import pretty
from latentbench.results.errors import UserError
from latentbench.results.leaderboard import leaderboard
from latentbench.results.metric import Metric
from latentbench.results.publish import board_tables, free_name, publish
from latentbench.results.record import Record
from latentbench.results.rows import rows
from latentbench.results.store import Store

Add = Callable[..., dict[str, Any]]


def psnr(value: float, protocol: str = "p") -> Metric:
    facts: dict[str, Any] = {"direction": "higher", "unit": "dB", "n": 64, "role": "distortion", "shown": "first"}
    return Metric(name="psnr", value=value, interval=(value - 0.2, value + 0.2), protocol=protocol, **facts)


@pytest.fixture
def run(tmp_path: Path, add: Add) -> Callable[..., Path]:
    """Write a run's folder of one cell."""

    def write(name: str, suite: str, value: float, protocol: str = "p", **cell: Any) -> Path:
        store = Store(tmp_path / name)
        store.write_suite(suite, [add(store, name, metrics=[psnr(value, protocol)], **cell)])
        return store.root

    return write


@pytest.fixture
def three(run: Callable[..., Path]) -> list[Path]:
    return [run("one", "a", 20.0), run("two", "a", 25.0, recipe="vq-vae"), run("three", "b", 30.0)]


@pytest.mark.parametrize("format", ["md", "csv", "json", "latex"])
def test_a_board_reads_back_as_the_runs(folder: Path, three: list[Path], tmp_path: Path, format: str) -> None:
    publish([folder, *three], out=tmp_path / "site")
    board = tmp_path / "site" / "board.json"
    texts = []
    for dirs in ([folder, *three], [board], [board.parent]):
        text = leaderboard(dirs, format=format)
        for path in (folder, *three):
            text = text.replace(f"{board}:{path.name}", path.name).replace(str(path), path.name)
        texts.append(json.loads(text) if format == "json" else text)
    assert texts[0] == texts[1] == texts[2]


def test_values_by_sample_go_along(tmp_path: Path, add: Add) -> None:
    """So that lines which only pairing tells apart stay apart."""
    import numpy as np
    from safetensors.numpy import save_file

    store, cells = Store(tmp_path / "out"), []
    hard = np.linspace(10, 40, 64).astype(np.float32)
    for name, gain in (("low", 0.0), ("high", 0.5)):
        cells.append(add(store, name, metrics=[], missing=True))
        path = store.job_folder("reconstruction", f"{name}-0") / "values.safetensors"
        path.parent.mkdir(parents=True)
        save_file({"psnr": hard + np.float32(gain)}, path)
        metric = replace(psnr(25 + gain), interval=(20.0, 30.0))
        size = {"values.safetensors": path.stat().st_size}
        job = {"kind": "reconstruction", "key": f"{name}-0", "status": "finished"}
        store.save(Record(metrics=(metric,), artifacts=size, **job))
    for cell, name in zip(cells, ("low", "high"), strict=True):
        cell["label"] = name
    store.write_suite("s", cells)
    publish([store.root], out=tmp_path / "site")
    (table,) = board_tables(rows([tmp_path / "site"]))
    ranks = [line[1].text for line in table.lines]
    assert ranks == ["1", "2"]
    again = publish([tmp_path / "site"], out=tmp_path / "site")
    assert len(list((again.parent / "values").iterdir())) == 2, "a board of boards has them too"


def test_boards_join_and_stand_beside_runs(three: list[Path], tmp_path: Path) -> None:
    publish(three[:2], out=tmp_path / "first")
    publish([tmp_path / "first", three[2]], out=tmp_path / "both")
    publish(three, out=tmp_path / "direct")
    both, direct = (read_board(tmp_path / name / "board.json") for name in ("both", "direct"))
    assert both["rows"] == direct["rows"]
    assert both["runs"] == direct["runs"]
    assert [run["name"] for run in both["runs"]] == ["one", "two", "three"]
    beside = json.loads(leaderboard([tmp_path / "first", three[2]], format="json"))
    assert [row["psnr"] for row in beside] == [20.0, 25.0, 30.0]


def test_what_a_row_holds(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run("one", "a", 20.0)
    store = Store(folder)
    record = store.read("reconstruction", "one-0")
    store.save(replace(record, run={"versions": {"latentbench": "1.2"}, "started": "2026-01-02T03:04:05+00:00"}))
    page = publish([folder], out=tmp_path / "site").read_text()
    board = read_board(tmp_path / "site" / "board.json")
    (row,) = board["rows"]
    assert row["metrics"] == {"psnr": psnr(20.0).to_json()}
    assert row["jobs"]["reconstruction"] == "reconstruction/one-0"
    assert row["versions"] == board["runs"][0]["versions"] == {"latentbench": ["1.2"]}
    assert "2026-01-02 03:04" in page
    assert "latentbench 1.2" in page
    assert str(tmp_path) not in (tmp_path / "site" / "board.json").read_text() + page


def test_two_protocols_have_two_tables_and_are_refused_in_one(run: Callable[..., Path], tmp_path: Path) -> None:
    dirs = [run("one", "a", 20.0, "rounded"), run("two", "a", 25.0, "not rounded", recipe="vq-vae")]
    page = publish(dirs, out=tmp_path / "site").read_text()
    assert "psnr: rounded" in page
    assert [len(table.groups) for table in board_tables(rows(dirs))] == [1, 1]
    with pytest.raises(UserError, match="psnr has two protocols, 'rounded'"):
        leaderboard([tmp_path / "site"])
    assert "20.0" in leaderboard([tmp_path / "site"], where="protocols.psnr=rounded")


def test_one_suite_run_twice_has_a_table_of_each(tmp_path: Path, add: Add) -> None:
    dirs = []
    for name, value in (("old", 20.0), ("new", 21.0)):
        store = Store(tmp_path / name)
        store.write_suite("s", [add(store, name, metrics=[psnr(value)]) | {"cell": "same"}])
        dirs.append(store.root)
    page = publish(dirs, out=tmp_path / "site").read_text()
    assert "run old" in page
    assert "run new" in page
    assert len(read_board(tmp_path / "site" / "board.json")["runs"]) == 2


class Seen(HTMLParser):
    """Elements, and every address that the page names."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.scopes: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))


def test_the_page_is_inert_and_whole(run: Callable[..., Path], three: list[Path], tmp_path: Path) -> None:
    hostile = run("<img src=x>", "<script>alert(1)<", 20.0, label='"><iframe src=//x>\u202e')
    page = publish([*three, hostile], out=tmp_path / "site").read_text()
    seen = Seen()
    seen.feed(page)
    assert {"img", "iframe", "link"}.isdisjoint(seen.tags)
    assert seen.tags.count("script") == 1
    assert "\u202e" not in page
    anchors = [link for link in seen.links if link.startswith("#")]
    assert set(seen.links) - set(anchors) == {"board.json"}
    assert all(f'id="{link[1:]}"' in page for link in anchors)
    assert seen.tags.count("table") == seen.tags.count("caption") == len(anchors) == 4
    assert set(seen.scopes) == {"col", "row"}
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data | {"format": "other"}, "its format is not 'latentbench board'"),
        (lambda data: data | {"schema": 9}, "schema 9 is not the one that this version reads (1)"),
        (lambda data: data | {"made": "later"}, "its digest (sha256) is another"),
        (lambda data: [], "its format is not"),
        (lambda data: sealed(data, lambda row: row["columns"].pop("recipe")), "rows[0].columns.recipe: missing"),
        (lambda data: sealed(data, lambda row: row["columns"].pop("tsr")), "lacks the column 'tsr'"),
        (lambda data: sealed(data, lambda row: row["files"].update(psnr="../x.safetensors")), "rows[0].files.psnr"),
        (lambda data: sealed(data, lambda row: row["metrics"]["psnr"].update(value="high")), "psnr: value"),
    ],
)
def test_a_foreign_or_damaged_file_is_one_line(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, says: str
) -> None:
    publish([run("one", "a", 20.0)], out=tmp_path / "site")
    path = tmp_path / "site" / "board.json"
    path.write_bytes(pretty(change(json.loads(path.read_text()))))
    assert cli.main(["leaderboard", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("latentbench: ")
    assert says in line


def sealed(data: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The board with a changed first row, and its digest made anew."""
    change(data["rows"][0])
    return data | {"sha256": _digest(data)}


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff\n", b"a,b\n1,2\n", b"NaN\n", b"[" * 100_000 + b"\n"])
def test_what_is_no_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json: not a board: "):
        leaderboard([tmp_path / "x.json"])


def test_a_board_is_no_run(run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run("one", "a", 20.0)
    with pytest.raises(UserError, match="is the folder of a run"):
        publish([folder], out=folder)
    assert cli.main(["publish", str(folder), "--out", str(tmp_path / "site")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'site' / 'index.html'}\n"
    assert cli.main(["gallery", str(tmp_path / "site"), "--out", str(tmp_path / "g")]) == 2
    assert "holds numbers alone" in capsys.readouterr().err


def test_reports_are_linked_where_asked_for(three: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    pytest.importorskip("itables")
    seen = Seen()
    seen.feed(publish(three[:2], out=tmp_path / "site", reports=True).read_text())
    links = [link for link in seen.links if link.startswith("reports/")]
    assert sorted(links) == ["reports/1-one/index.html", "reports/2-two/index.html"]
    assert all((tmp_path / "site" / link).is_file() for link in links)


def test_a_name_that_no_file_can_have_is_one_line(three: list[Path], tmp_path: Path) -> None:
    name = "x" * 300
    with pytest.raises(UserError):
        publish([name], out=tmp_path / "site")
    with pytest.raises(UserError):
        publish(three, out=name)
    assert not (tmp_path / "site").exists()


def test_runs_of_one_name_are_numbered() -> None:
    assert free_name("x", set()) == "x"
    assert free_name("x", {"x", "x #2"}) == "x #3"
    assert free_name("x #2", {"x", "x #2"}) == "x #3"
