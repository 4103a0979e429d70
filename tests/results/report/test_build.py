"""The page as files: complete, inert, without a network."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from latentbench.bench import cli
from latentbench.results.errors import UserError
from latentbench.results.report.build import SCRIPTS, report
from latentbench.results.report.output import script_json

from .conftest import HOSTILE, embedded

# Only looked for: itables brings pandas, which takes seconds to import, and the page takes their files.
missing = [name for name in ("plotly", "itables") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report([folder], out=tmp_path_factory.mktemp("page") / "report")


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.places += [value or "" for name, value in attributes if name in ("src", "href")]


@pytest.mark.slow
def test_everything_that_the_page_names_is_beside_it(page: Path) -> None:
    links = Links()
    links.feed(page.read_text())
    own = [place for place in links.places if not place.startswith(("#", "data:"))]
    assert len(own) == len(SCRIPTS) + 5
    assert all((page.parent / place).is_file() for place in own)
    for chunk in (page.parent / "data").glob("details-*.js"):
        for name in re.findall(r'"(media/[0-9a-f]{16}\.(?:png|wav))"', chunk.read_text()):
            assert (page.parent / name).is_file()


@pytest.mark.slow
def test_details_are_of_every_line_and_in_the_chunk_where_the_page_looks(page: Path) -> None:
    data = embedded(page)
    for number, line in enumerate(data["lines"]):
        text = (page.parent / "data" / f"details-{number // data['chunk']}.js").read_text()
        assert line["id"] in json.loads(text.removeprefix("report.details(").removesuffix(");\n"))


def test_our_scripts_and_the_page_name_no_place_on_a_network(page: Path) -> None:
    ours = [page, *(page.parent / "assets" / name for name in ("style.css", *SCRIPTS))]
    text = "".join(path.read_text() for path in ours).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z]+\.[a-z]", text)
    assert "default-src 'none'" in page.read_text()


def test_names_are_data_and_nothing_else(page: Path, folder: Path, tmp_path: Path) -> None:
    assert HOSTILE in {line["label"] for line in embedded(page)["lines"]}
    single = report([folder], out=tmp_path / "one.html", where="modality=image")
    links = Links()
    links.feed(single.read_text())
    assert "img" not in links.tags
    assert links.tags.count("script") == len(SCRIPTS) + 4  # libraries, data, one chunk of details
    for path in [*(page.parent / "data").iterdir(), page]:
        assert "<script>window.hit" not in path.read_text()


@pytest.mark.slow
def test_one_file_holds_pictures_and_sounds_up_to_a_bound(folder: Path, tmp_path: Path) -> None:
    whole = report([folder], out=tmp_path / "whole.html", where="modality=waveform").read_text()
    assert "data:audio/wav;base64," in whole
    assert "data:image/png;base64," in whole
    assert [path.name for path in tmp_path.iterdir()] == ["whole.html"]
    bare = report([folder], out=tmp_path / "bare.html", where="modality=waveform", media=0).read_text()
    assert "data:audio" not in bare
    assert len(bare) < len(whole)


def test_a_small_budget_takes_the_same_share_of_every_tokenizer(folder: Path, tmp_path: Path) -> None:
    page = report([folder], out=tmp_path / "few", where="modality=image", media=0.03)
    assert 0 < embedded(page)["share"] < 1
    counts = re.findall(r'"count":(\d+),"frames":1,"height":16', (page.parent / "data" / "details-0.js").read_text())
    assert len(counts) > 4
    assert len(set(counts)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["waveform", "image"])
def test_one_file_keeps_to_its_budget_evenly(folder: Path, tmp_path: Path, modality: str) -> None:
    def written(mib: float) -> list[int]:
        out = tmp_path / f"{mib}.html"
        text = report([folder], out=out, where=f"modality={modality}", media=mib).read_text()
        (details,) = re.findall(r"report\.details\((.*)\);</script>", text)
        parts = [one["media"]["parts"] for one in json.loads(details).values() if one["media"]]
        assert len(parts) == 5
        addresses = [re.findall(r"data:(?:image/png|audio/wav);base64,[^\"]*", json.dumps(one)) for one in parts]
        return [sum(map(len, one)) for one in addresses]

    whole = written(1000)
    budget = 0.6 * sum(whole)
    some = written(budget / 2**20)
    assert 0.4 * budget < sum(some) <= 1.05 * budget
    assert max(some) < 1.2 * min(some)  # none is left without, whichever comes first


def test_the_runs_are_told_with_their_times_and_devices(page: Path) -> None:
    (run,) = embedded(page)["runs"]
    assert run["cells"] == {"finished": 40, "failed": 1}
    assert run["devices"] == ["cpu"]
    assert run["began"] < run["ended"]
    assert run["datasets"]["waveform"] == "waveform"


@pytest.mark.slow
def test_the_same_runs_give_the_same_page_but_for_its_time(page: Path, folder: Path, tmp_path: Path) -> None:
    again = report([folder], out=tmp_path / "again")
    assert embedded(again) | {"made": ""} == embedded(page) | {"made": ""}


def test_json_in_a_script_ends_nothing_and_means_the_same() -> None:
    value = {"</script>": "<!-- \u2028 &amp; ü", "x": [1.5, None]}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_bad_input_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for argv, said in (
        ([str(tmp_path / "nowhere")], "no such folder"),
        ([str(folder), "--where", "recip=vq"], "recipe"),
        ([str(folder), "--media", "-1"], "expected a number of MiB"),
        ([str(folder), "--out", str(tmp_path / "file" / "x")], "cannot write"),
    ):
        try:
            code = cli.main(["report", *argv])
        except SystemExit as stop:
            code = stop.code
        output = capsys.readouterr().err
        assert code == 2
        assert said in output
        assert output.count("\n") == 1


def test_the_command_prints_the_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(folder), "--where", "modality=image", "--out", str(tmp_path / "r")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r' / 'index.html'}\n"


def test_a_damaged_or_locked_picture_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from .conftest import write_run

    root = write_run(tmp_path / "out", ["image"])
    for path in root.glob("jobs/reconstruction/*/pairs.safetensors"):
        path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(UserError, match=r"pairs\.safetensors: cannot be read"):
        report([root], out=tmp_path / "r")
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:  # root may read whatever its mode is
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"pairs\.safetensors: you may not read it"):
        report([root], out=tmp_path / "r")
