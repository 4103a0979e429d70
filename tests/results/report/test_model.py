"""The embedded numbers are the leaderboard's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from latentbench.results.headings import name_of
from latentbench.results.metric import Metric
from latentbench.results.metrics import Metrics
from latentbench.results.report.model import line_id, model
from latentbench.results.rows import Row, rows
from latentbench.results.tables import tables


@pytest.fixture(scope="module")
def table(folder: Path) -> list[Row]:
    return rows([folder])


def test_lines_stand_in_their_tables_order_with_its_ranks_and_bests(table: list[Row]) -> None:
    known = model(table)
    drawn = tables(table)
    assert [section.plain["modality"] for section in known.sections] == [one.modality for one in drawn]
    for place, one in enumerate(drawn):
        lines = known.lines_of(place)
        assert [line.group for line in lines] == list(one.groups)
        names = [column.name for column in one.columns]
        for line, cells in zip(lines, one.lines, strict=True):
            by_name = dict(zip(names, cells, strict=True))
            assert line.plain["rank"] == by_name["rank"].value
            assert line.plain["front"] == (by_name["pareto"].text == "●")
            for name in ("psnr", "gfd_net", "viv"):
                cell = line.plain["cells"].get(name)
                expected = by_name[name]
                assert (cell is None) == (expected.value is None)
                if cell is not None:
                    assert (cell[1], cell[2], bool(cell[5])) == (expected.text, expected.margin, expected.best)


def test_intervals_surround_their_values_and_all_is_json(table: list[Row]) -> None:
    known = model(table)
    cells = [line.plain["cells"]["psnr"] for line in known.lines if "psnr" in line.plain["cells"]]
    assert len(cells) == 20
    assert all(low < value < high for value, _, _, low, high, _ in cells)
    json.dumps(
        [[line.plain for line in known.lines], [s.plain for s in known.sections], known.columns], allow_nan=False
    )


def test_names_tell_lines_of_one_recipe_apart(table: list[Row]) -> None:
    known = model(table)
    for place in range(len(known.sections)):
        names = [line.name for line in known.lines_of(place)]
        assert len(set(names)) == len(names)
    assert "kl-vae channels=8 downsample=2" in {line.name for line in known.lines}


def test_ids_are_the_same_whatever_else_is_on_the_page(table: list[Row]) -> None:
    whole = {line.group.title + str(line.group.axes): line.id for line in model(table).lines if line.section == 0}
    few = [row for row in table if row["modality"] == "image" and row["channels"] == 4]
    part = {line.group.title + str(line.group.axes): line.id for line in model(few).lines}
    assert part.items() <= whole.items()
    assert len({line.id for line in model(table).lines}) == len(model(table).lines)
    assert line_id(model(few).lines[0].group) in part.values()


def test_what_decides_leads_the_columns_and_axes_close_them(table: list[Row]) -> None:
    names = [column["name"] for column in model(table).columns]
    assert names[0] == "real_bits"
    assert names.index("psnr") < names.index("gfd_net") < names.index("viv") < names.index("seconds")
    assert set(names[-2:]) == {"downsample", "channels"}


def test_each_line_has_the_protocol_of_its_own_measurement(table: list[Row]) -> None:
    protocols = model(table).sections[0].plain["protocols"]
    assert protocols["psnr"] == [{"text": "protocol of psnr", "n": [48]}]


def test_two_protocols_leave_a_section_without_ranks_and_say_so(table: list[Row]) -> None:
    def other(row: Row) -> Row:
        psnr: Metric = replace(row.metrics["psnr"], protocol="another")
        return replace(row, metrics=Metrics.of({**row.metrics, "psnr": psnr}))

    images = [row for row in table if row["modality"] == "image" and "psnr" in row.metrics]
    mixed = [other(row) if row["recipe"] == "vq-vae" else row for row in images]
    known = model(mixed)
    assert "psnr has two protocols" in known.sections[0].reason
    assert known.sections[0].plain["notes"] == [known.sections[0].reason]
    assert {line.plain["rank"] for line in known.lines} == {None}
    protocols = known.sections[0].plain["protocols"]["psnr"]
    own = {line.id for line in known.lines if line.group.recipe == "vq-vae"}
    assert [(p["text"], set(p["lines"]) == own) for p in protocols] == [("protocol of psnr", False), ("another", True)]


def test_columns_have_the_names_and_units_of_every_table(table: list[Row]) -> None:
    columns = {column["name"]: column for column in model(table).columns}
    assert all(column["title"].startswith(name_of(name)) for name, column in columns.items())
    said = {name: (columns[name]["title"], columns[name]["unit"]) for name in ("real_bits", "psnr", "seconds")}
    assert said == {"real_bits": ("rate", "bit"), "psnr": ("PSNR", "dB"), "seconds": ("time", "s")}
    assert columns["peak_memory_bytes"]["unit"] == "MiB"
