"""A fitted score as a file, and as text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # typing's own before Python 3.12 is not enough for pydantic

from ..comparable import SCORE
from ..display import printable
from ..errors import UserError
from ..record import explain
from .levels import Correlation
from .observations import Observations
from .score import FORMAT, LeftOut, Score, Skill, Term
from .text import shown

_SHIPPED = Path(__file__).parents[1] / "calibrations"

_Count = Annotated[int, Field(ge=0)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _TermFile(TypedDict):
    proxy: Annotated[str, Field(min_length=1)]
    logarithm: bool
    mean: _Number
    deviation: Annotated[_Number, Field(gt=0)]
    coefficient: _Number
    low: _Number
    high: _Number
    protocol: NotRequired[str]


class _RanksFile(TypedDict):
    value: Annotated[_Number, Field(ge=-1, le=1)]
    interval: Annotated[list[_Number | None], Field(min_length=2, max_length=2)]


class _SkillFile(TypedDict):
    n: _Count
    variance_explained: _Number
    spearman: _RanksFile | None


class _LeftOutFile(TypedDict):
    family: int
    predicted: _Number
    measured: _Number


class _FittedFile(TypedDict):
    jobs: NotRequired[list[str]]


class _DomainFile(TypedDict):
    modalities: list[str]
    rows: _Count
    families: _Count
    kinds: NotRequired[list[Literal["codes", "values"]]]
    signals: NotRequired[list[_Count]]
    samples: NotRequired[list[_Count]]


_TestedFile = TypedDict(
    "_TestedFile",
    {
        "families left out": _SkillFile,
        "tables left out": dict[str, _SkillFile],
        "beyond codes and values": NotRequired[_SkillFile],
    },
)
_File = TypedDict(
    "_File",
    {
        "outcome": str,
        "intercept": _Number,
        "terms": list[_TermFile],
        "domain": _DomainFile,
        "tested": _TestedFile,
        "margins": NotRequired[list[Annotated[_Number, Field(ge=0)] | None]],
        "left out": NotRequired[list[_LeftOutFile]],
        "fitted on": list[_FittedFile],
    },
)


def to_json(score: Score, tables: Sequence[Observations]) -> str:
    """The score with its version, domain of validity, what it was tested on, and the table that it was fitted on."""
    used = [term.proxy for term in score.terms]
    plain = {
        "name": SCORE,
        "version": FORMAT,
        "formula": score.formula,
        "outcome": score.outcome,
        "direction": "lower",
        "intercept": score.intercept,
        "terms": [asdict(term) for term in score.terms],
        "domain": {
            "modalities": list(score.modalities),
            "rows": score.rows,
            "families": score.family_count,
            **({"kinds": list(score.kinds)} if score.kinds else {}),
            **({"signals": list(score.signals)} if score.signals else {}),
            **({"samples": list(score.samples)} if score.samples else {}),
        },
        "tested": {
            "families left out": _skill(score.families),
            "tables left out": {name: _skill(skill) for name, skill in score.tables.items()},
            **({} if score.beyond is None else {"beyond codes and values": _skill(score.beyond)}),
        },
        "margins": [margin if math.isfinite(margin) else None for margin in score.margins],
        "left out": [asdict(row) for row in score.left_out],
        "fitted on": [
            {
                "table": table.title,
                "tokenizer": item.name,
                "family": item.family,
                "outcome": list(item.outcome),
                **({"jobs": list(item.jobs)} if item.jobs else {}),
                **{name: item.values[name] for name in used},
            }
            for table in tables
            for item in table.items
        ],
    }
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def shipped() -> dict[str, Path]:
    """The scores that come with latentbench, by name: each fitted to the grid of that name (`image` to the families of
    `image-claimed` too), of which it has shown skill on families left out."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.json"))}


def placed(path: Path) -> Path:
    """The file that is meant: where there is none and it is the name of a `shipped` score, that one's."""
    return shipped().get(str(path), path) if not path.is_file() else path


def from_json(path: Path) -> Score:
    """A score out of a file that `to_json` wrote, or a shipped one by its name. Raises UserError, with the file, for
    anything else."""
    try:
        plain = json.loads(placed(path).read_text())
    except OSError as error:
        names = ", ".join(shipped())
        more = f"; shipped are: {names}" if names and not path.exists() else ""
        raise UserError(f"{path}: {error.strerror}{more}") from error
    except ValueError as error:
        raise UserError(f"{path}: no JSON: {error}") from error
    if not isinstance(plain, dict) or plain.get("name") != SCORE:
        raise UserError(f"{path}: no score; `latentbench calibrate … --fit-score FILE.json` writes one")
    if plain.get("version") != FORMAT:
        raise UserError(f"{path}: a score of version {plain.get('version')}; this program reads version {FORMAT}")
    try:
        file = _adapter().validate_python(plain, strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: a damaged score: {explain(error)}") from None
    if reason := _inconsistency(file):
        raise UserError(f"{path}: a damaged score: {reason}")
    tested, domain = file["tested"], file["domain"]
    beyond = tested.get("beyond codes and values")
    return Score(
        intercept=file["intercept"],
        terms=tuple(Term(**term) for term in file["terms"]),
        outcome=file["outcome"],
        modalities=tuple(domain["modalities"]),
        rows=domain["rows"],
        family_count=domain["families"],
        families=_read_skill(tested["families left out"]),
        tables={name: _read_skill(skill) for name, skill in tested["tables left out"].items()},
        fitted_jobs=frozenset(job for row in file["fitted on"] for job in row.get("jobs", ())),
        kinds=tuple(domain.get("kinds", ())),
        signals=tuple(domain.get("signals", ())),
        samples=tuple(domain.get("samples", ())),
        margins=tuple(math.inf if margin is None else margin for margin in file.get("margins", ())),
        left_out=tuple(LeftOut(**row) for row in file.get("left out", ())),
        beyond=None if beyond is None else _read_skill(beyond),
    )


def _inconsistency(file: _File) -> str:
    """What no single field shows, in words; "" for nothing."""
    names = [term["proxy"] for term in file["terms"]]
    for i, term in enumerate(file["terms"]):
        if term["low"] > term["high"]:
            return f"terms[{i}].low: expected {term['high']:g} (high) at most, got {term['low']:g}"
        if term["logarithm"] and term["low"] <= 0:
            return f"terms[{i}].low: expected more than 0, since its logarithm is taken, got {term['low']:g}"
        if names.index(term["proxy"]) != i:
            return f"terms[{i}].proxy: {printable(term['proxy'])} is given twice"
    return ""


@cache
def _adapter() -> TypeAdapter[_File]:
    return TypeAdapter(_File)


def summary(score: Score) -> list[str]:
    """The formula, what it was tested on, and whether that shows any skill, as Markdown."""
    beyond = {} if score.beyond is None else {"the same, beyond telling codes from values": score.beyond}
    lines = [
        f"`{score.formula}`",
        "",
        f"Lower is better: {score.outcome} in deviations from its table's mean, by {_fitted(score)}.",
        "",
        "| left out | n | ρ | variance explained |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {skill.n} | {shown(skill.spearman)} | {skill.explained:.0%} |"
            for name, skill in {"a family at a time": score.families, **beyond, **score.tables}.items()
        ),
        "",
        verdict(score),
    ]
    return lines


def _fitted(score: Score) -> str:
    return f"{score.rows} tokenizers of {score.family_count} families"


def verdict(score: Score) -> str:
    """One sentence: whether the score has shown skill on families that it was not fitted on."""
    if not score.terms:
        return "No proxy earned a place: on families left out, none predicts better than the mean."
    if score.has_skill:
        return "The score has skill on families that it was not fitted on."
    return "No skill is shown on families that the score was not fitted on: don't choose by it."


def _skill(skill: Skill) -> dict[str, Any]:
    ranks = skill.spearman
    return {
        "n": skill.n,
        "variance_explained": skill.explained,
        "spearman": None if ranks is None else {"value": ranks.value, "interval": [ranks.low, ranks.high]},
    }


def _read_skill(plain: _SkillFile) -> Skill:
    ranks = plain["spearman"]
    order = None
    if ranks is not None:
        low, high = ranks["interval"]
        order = Correlation(value=ranks["value"], low=low, high=high, n=plain["n"])
    return Skill(n=plain["n"], explained=plain["variance_explained"], spearman=order)
