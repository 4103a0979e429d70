"""Numbers, words for none, and what is neither."""

from pathlib import Path

import pytest

from latentbench.results.calibration.table_cells import Column, columns_of, left_out, number
from latentbench.results.calibration.table_lines import read_sheet
from latentbench.results.errors import UserError


def columns(folder: Path, *cells: str, delimiter: str = ",") -> dict[str, Column]:
    path = folder / "t.csv"
    path.write_text("\n".join([f"name{delimiter}viv", *(f"t{delimiter}{cell}" for cell in cells)]) + "\n")
    sheet = read_sheet(path)
    return columns_of(sheet, sheet.lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("-.5e3", -500.0),
        ("+2.", 2.0),
        ("1e200", 1e200),
        *((word, None) for word in ("", "1_0", "٣", "0x1")),
    ],
)
def test_a_number_is_digits(text: str, value: float | None) -> None:
    assert number(text) == value


def test_words_for_none_are_missing(tmp_path: Path) -> None:
    words = ["", "-", "--", "—", "n/a", "N.A.", "NA", "nan", "None", "null", "#N/A", "1"]
    column = columns(tmp_path, *words)["viv"]
    assert (column.is_numeric, column.numbers, column.infinite) == (True, 1, 0)


@pytest.mark.parametrize("cell", [">100", "12%", '"1,234"', "16x16", "true", "yes", "1_000", "~3"])
def test_the_first_cell_that_is_no_number_is_named(tmp_path: Path, cell: str) -> None:
    known = columns(tmp_path, "1", "-", cell, "x")
    assert not known["viv"].is_numeric
    bare = cell.strip('"')
    assert left_out(known, ["viv"]) == [f"Left out, since not all cells are numbers: viv (line 4 has {bare!r})."]


def test_empty_and_infinite_columns(tmp_path: Path) -> None:
    assert left_out(columns(tmp_path, "", "-"), ["viv"]) == ["Left out, since no cell is a number: viv."]
    known = columns(tmp_path, "inf", "1e999", "-Infinity", "3")
    assert known["viv"].is_numeric
    assert left_out(known, ["viv"]) == ["Infinite values, which count as missing: 3 of viv."]


def test_long_lists_are_cut(tmp_path: Path) -> None:
    column = columns(tmp_path, "x")["viv"]
    (note,) = left_out(dict.fromkeys("abcdefghij", column), "abcdefghij")
    assert note.endswith(" and 2 more.")


def test_decimal_commas_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t.csv: line 3, column viv: '2,5': expected a decimal point, as in 2.5$"):
        columns(tmp_path, "1", "2,5", delimiter=";")
    assert not columns(tmp_path, "1.5", "2,500", delimiter=";")["viv"].is_numeric  # thousands
    assert not columns(tmp_path, '"2,5"')["viv"].is_numeric  # either
