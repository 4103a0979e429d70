"""Tokenizers from lines: names, seeds, families."""

from pathlib import Path

import pytest

from latentbench.results.calibration.observations import Observations
from latentbench.results.calibration.table_file import read_table
from latentbench.results.errors import UserError


def read(folder: Path, text: str, family: str | None = None) -> Observations:
    path = folder / "t.csv"
    path.write_text(text)
    return read_table(path, outcome="gfid", family=family)


def test_without_names_tokenizers_are_called_by_their_lines(tmp_path: Path) -> None:
    table = read(tmp_path, "# x\nfamily,gfid,viv\nf,1,2\n\nf,2,3\ng,4,5\n", family="family")
    assert [(item.name, item.family) for item in table.items] == [("line 3", "f"), ("line 5", "f"), ("line 6", "g")]
    assert "No column of names (tokenizer, name, …): tokenizers are called by their lines." in table.notes


@pytest.mark.parametrize("header", ["recipe,note,gfid", "family,note,gfid"])
def test_what_makes_families_is_no_name(tmp_path: Path, header: str) -> None:
    table = read(tmp_path, f"{header}\nf,x,1\nf,y,2\n", family=header.split(",")[0])
    assert [item.name for item in table.items] == ["x", "y"]
    table = read(tmp_path, f"{header}\nf,x,1\nf,x,2\n", family=header.split(",")[0])
    assert [item.name for item in table.items] == ["line 2", "line 3"]


def test_a_column_of_text_names_tokenizers_with_seeds(tmp_path: Path) -> None:
    table = read(tmp_path, "net,seed,gfid\na,0,1\na,1,2\nb,0,3\n")
    assert [(item.name, item.outcome) for item in table.items] == [("a", (1.0, 2.0)), ("b", (3.0,))]


def test_who_has_no_family_is_one(tmp_path: Path) -> None:
    table = read(tmp_path, "name,f,gfid\na,,1\nb,-,2\nc,b,3\nd,none,4\ne,none,5\n", family="f")
    assert [item.family for item in table.items] == ["a", "b'", "b", "none", "none"]
    assert "2 tokenizers without a f are a family each." in table.notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,gfid\n,1\n", "line 2, column name: expected the tokenizer's name, and it is empty"),
        ("name,seed,gfid\nx,,1\nx,1,2\n", "line 2, column seed: 'x' has several lines, and this one no seed"),
        ("# x\n\nname,gfid\nx,1\n\nx,2\n", "line 6: 'x' is there already; several seeds need a column 'seed'"),
        ("name,gfid,codes\nx,1,1024\n", "line 2, column codes: '1024': it says whether latents are codes, 1 or 0"),
        ("name,seed,gfid,codes\nx,0,1,1\nx,1,1,0\n", "line 2, column codes: '1': it says whether"),
    ],
)
def test_lines_that_are_no_tokenizers(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_one_empty_seed_is_no_matter(tmp_path: Path) -> None:
    assert len(read(tmp_path, "name,seed,gfid\nx,,1\ny,,2\n").items) == 2
