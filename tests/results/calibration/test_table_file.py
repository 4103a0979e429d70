"""A CSV of anybody's figures: what is read, and what is refused in one line."""

from pathlib import Path

import pytest

from latentbench.results.calibration.observations import FAMILY_MEAN
from latentbench.results.calibration.table_file import read_table
from latentbench.results.errors import UserError

TABLE = """tokenizer,family,seed,gfid,gfid_cfg,psnr,viv,note
a,kl,0,3.0,2,20,1.0,x
a,kl,1,3.4,2,20,1.2,y
b,kl,0,5.0,2,22,,z
c,vq,0,,2,24,2.0,
d,vq,0,9.0,2,26,2.5,
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8-sig")
    return path


def test_lines_of_a_name_are_seeds(file: Path) -> None:
    table = read_table(file, outcome="gfid", family="family", higher=["psnr"], lower=["viv"])
    a, b, d = table.items
    assert (a.name, a.family, a.outcome, a.values) == ("a", "kl", (3.0, 3.4), {"psnr": 20, "viv": pytest.approx(1.1)})
    assert b.values == {"psnr": 22}
    assert d.family == "vq"
    assert [(p.name, p.direction, p.baseline) for p in table.predictors] == [
        ("viv", "lower", False),
        ("psnr", "higher", True),
        (FAMILY_MEAN, "lower", True),
    ]
    assert table.notes == (
        "1 lines without gfid are left out.",
        "Outcomes themselves, so no predictors: gfid_cfg.",
        "Left out, since not all cells are numbers: note (line 2 has 'x').",
    )


def test_proxies_and_baselines_by_name(file: Path) -> None:
    table = read_table(file, outcome="gfid", proxies=["ps*", "gfid_cfg"], baselines=["viv"])
    assert [(p.name, p.baseline) for p in table.predictors] == [("gfid_cfg", False), ("psnr", False), ("viv", True)]
    assert {item.family for item in table.items} == {"a", "b", "d"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outcome": None}, "--outcome: name the column to predict; the file has gfid, gfid_cfg"),
        ({"outcome": "gfd"}, "--outcome: unknown column 'gfd'.*gfid"),
        ({"outcome": "note"}, "--outcome note: expected a column of numbers, and line 2 has 'x'"),
        ({"outcome": "gfid", "family": "famly"}, "--family: unknown column 'famly'.*family"),
        ({"outcome": "gfid", "fixed": ["note"]}, "--given note: expected a column of numbers"),
        ({"outcome": "gfid", "proxies": ["vvi"]}, "--proxies: unknown column of numbers 'vvi'.*viv"),
        ({"outcome": "gfid", "higher": ["psnrr"]}, "--higher: unknown column 'psnrr'"),
        ({"outcome": "gfid", "lower": ["x*"]}, r"--lower: unknown column 'x\*'"),
        ({"outcome": "gfid", "higher": ["viv"], "lower": ["v*"]}, "--higher and --lower: viv is in both"),
        ({"outcome": "gfid", "higher": ["gfid"]}, "--higher gfid: that is the outcome itself: --better says"),
        ({"outcome": "gfid", "lower": ["note"]}, "--lower note: expected a column of numbers, and line 2 has 'x'"),
        ({"outcome": "gfid", "proxies": ["gfid"]}, "--proxies gfid: that is the outcome itself"),
        ({"outcome": "gfid", "proxies": ["note"]}, "--proxies note: expected a column of numbers, and line 2"),
        ({"outcome": "gfid", "baselines": ["note"]}, "--baselines note: expected a column of numbers, and line 2"),
        ({"outcome": "gfid", "fixed": ["gfid"]}, "--given gfid: that is the outcome itself"),
        ({"outcome": "gfid", "family": "gfid"}, "--family gfid: that is the outcome itself"),
    ],
)
def test_a_column_that_is_not_there(file: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(file, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header and at least one line"),
        ("a,b\n", "expected a header and at least one line"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("a,gfid\n1\n", "line 2 has 1 cells, and the header 2"),
        ("# outcome: gf\nname,gfid,v\na,1,2\n", "line 1: outcome: unknown column 'gf'; did you mean 'gfid'"),
        ("# outcome: gfid\n\n# given: b\nname,gfid,v\na,1,2\n", "line 3: given: unknown column 'b'"),
        ("# better: up\nname,gfid\na,1\n", "line 1: better: expected lower or higher, got 'up'"),
        ("# domain: signal = big\nname,gfid\na,1\n", "line 1: domain: expected signal = <values> or samples"),
        ("name,gfid,family_mean\na,1,2\n", "column family_mean: a calibration makes a column of this name"),
        ("name,gfid\na,\nb,-\n", "--outcome gfid: expected a column of numbers, and no line has a number"),
        ('a,gfid\n"1,2\n', "not a CSV"),
        ("name,gfid\nx,1\nx,2\n", "line 3: 'x' is there already; several seeds need a column 'seed'"),
        ("name,seed,gfid\nx,0,1\nx,0,2\n", "line 3: 'x' has seed 0 already"),
        ("name,seed,gfid,f\nx,0,1,a\nx,1,2,b\n", "line 3: 'x' belongs to two families"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        read_table(path, outcome=None if "# outcome" in text else "gfid", family="f" if ",f\n" in text else None)
    assert str(path) in str(error.value)


def test_cells_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "# lower: viv, gone\nname,family,gfid,viv,prior_tokens,empty,earned_x,viv_se,gFID_b,PSNR,seed\n"
        "a,f,1,2,16x16,,yes,.1,1,20,0\nb,f,2,>3,8x8,-,no,.1,2,21,0\nc,g,inf,4,8x8,,yes,.1,2,23,0\n"
    )
    table = read_table(path, outcome="gfid")
    assert [(p.name, p.baseline) for p in table.predictors] == [("PSNR", True)]
    assert table.notes == (
        "1 lines without gfid are left out.",
        "Outcomes themselves, so no predictors: gFID_b.",
        "Standard errors, so no predictors: viv_se.",
        "Families are not told apart: --family family takes them from the column of this name.",
        "Left out, since not all cells are numbers: viv (line 4 has '>3'), prior_tokens (line 3 has '16x16').",
        "Left out, since no cell is a number: empty.",
        "Infinite values, which count as missing: 1 of gfid.",
        "The file's lower names what is no column: gone.",
    )


def test_what_the_file_says_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "# outcome: gfid\n# better: higher\n# family: f\n# baselines: viv\n# higher: v*\n# seconds: x=2\n"
        "# domain: signal = 3072\n# domain: samples = 256\n# protocol: x = of values\n# protocol: x = of codes = 1\n"
        "name,f,gfid,viv,x,psnr\na,k,1,2,3,4\nb,k,2,3,4,5\nc,l,2,3,4,5\n"
    )
    table = read_table(path, outcome=None)
    assert (table.direction, table.signal, table.samples) == ("higher", 3072, 256)
    x, psnr, viv, mean = table.predictors
    assert (x.name, x.seconds, x.protocol, x.baseline) == ("x", 2.0, "of values\nof codes = 1", False)
    assert (psnr.name, psnr.baseline) == ("psnr", False)
    assert (viv.name, viv.direction, viv.baseline) == ("viv", "higher", True)
    assert (mean.name, mean.direction) == (FAMILY_MEAN, "higher")
    assert read_table(path, outcome=None, direction="lower", lower=["viv"]).predictors[2].direction == "lower"
    assert [p.name for p in read_table(path, outcome=None, proxies=["viv"]).predictors][:1] == ["viv"]
    assert read_table(path, outcome=None, fixed=["x", "x"]).fixed == ("x",)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_table(tmp_path / "none.csv", outcome="gfid")
    with pytest.raises(UserError, match="cannot read"):
        read_table(tmp_path, outcome="gfid")
    (tmp_path / "bytes.csv").write_bytes(b"a,gfid\n\xff,1\n")
    with pytest.raises(UserError, match="not a CSV in UTF-8"):
        read_table(tmp_path / "bytes.csv", outcome="gfid")


def test_words_for_no_number(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,gfid,viv\na,1,nan\nb,2,1e400\nc,n/a,3\nd,4,-\n")
    table = read_table(path, outcome="gfid")
    assert [item.name for item in table.items] == ["a", "b", "d"]
    assert all(item.values == {} for item in table.items)
