"""A file as text: delimiters, lines before the header, and the numbers of lines."""

from pathlib import Path

import pytest

from latentbench.results.calibration.table_lines import read_sheet
from latentbench.results.errors import UserError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "t.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_headers(path: Path, delimiter: str) -> None:
    path.write_text(f'name{delimiter}"viv, of ;\t all"{delimiter}gfid\na{delimiter}1{delimiter}2\n')
    sheet = read_sheet(path)
    assert sheet.header == ["name", "viv, of ;\t all", "gfid"]
    assert sheet.lines == [{"name": "a", "viv, of ;\t all": "1", "gfid": "2"}]


def test_lines_have_the_files_own_numbers(path: Path) -> None:
    path.write_text('# my figures\n\n# lower: viv\nname,viv\n\na,"1\n"\n,\nb,2\n')
    assert [line.number for line in read_sheet(path).lines] == [6, 9]


def test_comments_are_passed_over_and_other_keys_noted(path: Path) -> None:
    path.write_text(
        "# my figures: all\n# see http://x.org\n# lower: a, b\n#lower:c\n# Higher: d\n# source: us\n"
        "# protocol: viv = of z = 3\n# seconds: viv=0.5, x=2\nname,viv\na,1\n"
    )
    sheet = read_sheet(path)
    assert sheet.said.listed("lower") == ["a", "b", "c"]
    assert sheet.said.equalities("protocol") == {"viv": ["of z = 3"]}
    assert sheet.said.numbers("seconds") == {"viv": 0.5, "x": 2.0}
    first, second = sheet.notes
    assert first == "Line 5 says 'Higher', which is not heeded; did you mean 'higher'?"
    assert second.startswith("Line 6 says 'source', which is not heeded; ")


def test_columns_without_a_name(path: Path) -> None:
    path.write_text(",name,viv,,\n0,a,1,,\n1,b,2,,\n")
    sheet = read_sheet(path)
    assert sheet.header == ["name", "viv"]
    assert sheet.lines[1] == {"name": "b", "viv": "2"}
    assert sheet.notes == ["Column 1 has no name, and is left out."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# lower: a\n", "expected a header and at least one line of figures"),
        ("name\na\n", "line 1: one column; expected commas, semicolons or tabs between columns"),
        ("\nname,a,a\nx,1,2\n", "line 2: two columns are called 'a'"),
        ("# x\nname,a\nx,1\n\ny\n", r"line 5 has 1 cells, and the header 2 \(line 2\)"),
        ('# x\nname,a\nx,"1"2\n', "line 3: not a CSV: "),
    ],
)
def test_what_is_no_table(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_sheet(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("line", "read", "message"),
    [
        (
            "# seconds: viv=fast",
            lambda said: said.numbers("seconds"),
            "line 2: seconds: expected <column>=<number>, got",
        ),
        (
            "# protocol: viv",
            lambda said: said.equalities("protocol"),
            "line 2: protocol: expected <name> = <text>, got",
        ),
        ("# outcome: b", lambda said: said.one("outcome"), "line 2: outcome is given twice"),
    ],
)
def test_what_the_file_says_wrongly(path: Path, line: str, read: object, message: str) -> None:
    path.write_text(f"# outcome: a\n{line}\nname,viv\na,1\n")
    with pytest.raises(UserError, match=message):
        read(read_sheet(path).said)  # type: ignore[operator]
