"""A calibration as text: for a terminal, as Markdown, as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from ..display import brief, printable
from .correlation import KINDS
from .levels import LEVELS, Correlation
from .observations import FAMILY_MEAN
from .reliability import Ceiling
from .report import Calibration, ProxyReport

_WIDE = 150  # columns of a terminal from which all intervals fit
_PAIRS = 10
_LEADING = 10  # proxies whose seeds are told of
_DECIDING = ("proxy", "n", "ρ", "within", "across", "pairs", "p")
_COLUMNS = (
    "proxy",
    "n",
    "ρ",
    "share",
    "over dull",
    "within",
    "across",
    "τ",
    "r",
    "partial",
    "pairs",
    "regret",
    "s",
    "FLOPs",
    "p",
)


def terminal(calibration: Calibration, width: int) -> Iterator[RenderableType]:
    """What rich prints of a calibration on a terminal of `width` columns."""
    wide = width >= _WIDE
    yield Text(printable(_title(calibration)), "bold")
    heads, lines = filled(calibration, _COLUMNS if wide else _DECIDING, intervals=wide)
    table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head == "proxy" else "right", overflow="fold")
    for report, line in zip(listed(calibration), lines, strict=True):
        table.add_row(*(Text(printable(cell), "dim" if report.predictor.baseline else "") for cell in line))
    yield table
    for note in notes(calibration):
        yield Text(printable(note))
    yield Text()


def markdown(calibration: Calibration) -> str:
    """A table in GitHub's Markdown with every level's interval, and its notes."""
    heads, lines = filled(calibration, _COLUMNS, intervals=True)
    table = [heads, ["---", *["---:"] * (len(heads) - 1)], *([_escaped(cell) for cell in line] for line in lines)]
    below = [textwrap.fill(f"- {_escaped(note)}", 160, subsequent_indent="  ") for note in notes(calibration)]
    rows = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([f"## {_escaped(_title(calibration))}", "", *rows, "", *below]) + "\n"


def listed(calibration: Calibration) -> list[ProxyReport]:
    """The lines of a table: all proxies, and of pairs of proxies the ten with the largest |ρ|."""
    pairs = [report for report in calibration.proxies if report.predictor.pair]
    return [report for report in calibration.proxies if not report.predictor.pair or report in pairs[:_PAIRS]]


def filled(
    calibration: Calibration, columns: Sequence[str] = _COLUMNS, *, intervals: bool
) -> tuple[list[str], list[list[str]]]:
    """The columns that have something to say, and the proxies' lines."""
    cells = [_cells(calibration, report, intervals=intervals) for report in listed(calibration)]
    heads = [name for name in columns if name == "proxy" or any(line[name] for line in cells)]
    return heads, [[line[name] for name in heads] for line in cells]


def to_json(calibrations: Sequence[Calibration]) -> str:
    """A JSON list with one object per proxy: its name, n, each coefficient with its interval, and all the rest."""
    return (
        json.dumps([_plain(c, report) for c in calibrations for report in c.proxies], indent=2, ensure_ascii=False)
        + "\n"
    )


def _plain(calibration: Calibration, report: ProxyReport) -> dict[str, Any]:
    observations = calibration.observations
    plain: dict[str, Any] = {
        "proxy": report.predictor.name,
        "n": report.n,
        "baseline": report.predictor.baseline,
        "direction": report.predictor.direction,
        "direction_assumed": report.assumed,
        "table": observations.title,
        "outcome": observations.outcome,
    }
    for kind in KINDS:
        plain[kind] = {}
        for level in LEVELS:
            value = report.correlations.get((kind, level))
            if value is not None:
                plain[kind][level] = _coefficient(value) | {"share": report.share(kind, level)}
                if kind == "spearman" and level in report.p:
                    plain[kind][level]["p"] = report.p[level]
    plain["partial_spearman"] = None
    if report.partial is not None:
        fixed = [name for name in observations.fixed if name != report.predictor.name]
        plain["partial_spearman"] = {"given": fixed} | _coefficient(report.partial)
    plain["gain"] = None
    if calibration.dullest is not None and report.gain is not None:
        plain["gain"] = {"over": calibration.dullest} | _coefficient(report.gain)
    moved = report.seed_correlation
    plain["seed_correlation"] = None if moved is None else _coefficient(moved)
    plain["pairs"] = None if report.pairs is None else vars(report.pairs)
    plain["regret"] = None if report.regret is None else vars(report.regret)
    plain["seconds"] = report.predictor.seconds
    plain["share_of_flops"] = report.predictor.share_of_flops
    plain["ceiling"] = {
        level: _ceiling(limit) for level in LEVELS if (limit := report.ceilings.get(("spearman", level))) is not None
    }
    return plain


def _coefficient(value: Correlation) -> dict[str, Any]:
    return {"value": value.value, "interval": None if value.low is None else [value.low, value.high], "n": value.n}


def _ceiling(limit: Ceiling) -> dict[str, Any]:
    return {
        "reliability": limit.reliability,
        "attainable": limit.attainable,
        "interval": None if limit.low is None else [limit.low, limit.high],
        "seeds": limit.seeds,
    }


def _title(calibration: Calibration) -> str:
    observations = calibration.observations
    counts = f"{len(observations.items)} tokenizers"
    if observations.families > 1:
        counts += f" of {observations.families} families"
    return f"{observations.title}: what predicts {observations.outcome} ({counts})"


def _cells(calibration: Calibration, report: ProxyReport, *, intervals: bool) -> dict[str, str]:
    name = report.predictor.name
    values = {level: report.correlations.get(("spearman", level)) for level in LEVELS}
    overall, share = values["overall"], report.share("spearman", "overall")
    level = shown if intervals else _value
    p = report.p.get("overall")
    return {
        "proxy": f"{name} (baseline)" if report.predictor.baseline else name,
        "n": str(report.n),
        "ρ": shown(overall),
        "share": "" if share is None else f"{share:.0%}",
        "within": level(values["within"]),
        "across": level(values["across"]),
        "τ": level(report.correlations.get(("kendall", "overall"))),
        "r": level(report.correlations.get(("pearson", "overall"))),
        "over dull": "" if report.gain is None else level(report.gain),
        "partial": level(report.partial),
        "pairs": "" if report.pairs is None else f"{report.pairs.agree:.0%}" + ("*" if report.assumed else ""),
        "regret": "" if report.regret is None else brief(report.regret.value),
        "s": "" if report.predictor.seconds is None else brief(report.predictor.seconds),
        "FLOPs": "" if report.predictor.share_of_flops is None else f"{report.predictor.share_of_flops:.1%}",
        "p": "" if p is None else (f"{p:.3f}" if p >= 0.001 else "<.001"),
    }


def _value(value: Correlation | None) -> str:
    return "" if value is None else _signed(value.value)


def shown(value: Correlation | None) -> str:
    """A coefficient with its interval as papers set them: `.80 [.48, .93]`; "" for none."""
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return _signed(value.value)
    return f"{_signed(value.value)} [{_signed(value.low)}, {_signed(value.high)}]"


def _signed(value: float) -> str:
    """A coefficient as papers set it: .80, −.14."""
    text = f"{abs(value):.2f}"
    text = text if text.startswith("1") else text[1:]
    return f"\N{MINUS SIGN}{text}" if value < 0 and float(text) else text


def notes(calibration: Calibration) -> list[str]:
    """What stands below the table: what its columns mean, and what was left out."""
    observations = calibration.observations
    better = {"lower": "Lower", "higher": "Higher"}.get(observations.direction, "")
    result = [
        f"ρ is Spearman's with {observations.outcome}"
        + (f" ({better.lower()} is better)" if better else "")
        + ", with its 95 % interval"
        + (
            "; within is the mean over families, across is that of families' means."
            if observations.families > 1
            else "."
        )
    ]
    result += _ceiling_notes(calibration)
    tested = next((report.pairs.tested for report in calibration.proxies if report.pairs is not None), False)
    counted = (
        "whose outcomes differ by Student's t over seeds" if tested else "(one seed each, so all that differ at all)"
    )
    result.append(f"pairs: share of the pairs of tokenizers {counted} that the proxy orders rightly.")
    if any(report.assumed and report.pairs is not None for report in calibration.proxies):
        result.append("*: no direction is declared, and the one that fits these data is taken, which flatters.")
    random = next((report.regret.random for report in calibration.proxies if report.regret is not None), None)
    if random is not None:
        result.append(
            "regret: the picked tokenizer's outcome less the best one's of all, whether they have the proxy or not; of "
            f"a random pick {brief(random)}."
        )
    if calibration.dullest is not None:
        result.append(f"over dull: |ρ| less that of {calibration.dullest}, the best baseline, over the rows of both.")
    tried = sum(not report.predictor.baseline for report in calibration.proxies)
    result.append(f"p: of no relation, corrected for {tried} proxies tried; baselines are not tested.")
    pairs = sum(report.predictor.pair for report in calibration.proxies)
    if pairs > _PAIRS:
        result.append(f"Of {pairs} pairs of proxies the {_PAIRS} with the largest |ρ| are listed.")
    if observations.fixed:
        result.append(f"partial: ρ with {', '.join(observations.fixed)} held fixed.")
    if any(report.predictor.name == FAMILY_MEAN for report in calibration.proxies):
        result.append(f"{FAMILY_MEAN}: the mean outcome of the other tokenizers of the family.")
    return [*result, *observations.notes]


def _ceiling_notes(calibration: Calibration) -> list[str]:
    limit = calibration.ceilings.get(("spearman", "overall"))
    if limit is None:
        return ["Noise ceiling: not known, since tokenizers have one seed each."]
    others = [
        f"{_attainable(other)} {level} families"
        for level in LEVELS[1:]
        if (other := calibration.ceilings.get(("spearman", level))) is not None
    ]
    said = (
        f"Noise ceiling: the outcome agrees with itself at {_signed(limit.reliability)} between halves of its "
        f"{limit.seeds} seeds, corrected to all; a proxy that knows nothing of the noise could reach "
        f"{', '.join([_attainable(limit), *others])}. `share` is the share of that, over the rows that have the proxy."
    )
    most = len(calibration.observations.items) / 2
    leading = [r for r in listed(calibration) if r.n > most and not r.predictor.baseline][:_LEADING]
    moved = [f"{r.predictor.name} {shown(r.seed_correlation)}" for r in leading if _predicts_seeds(r)]
    told = f": from seed to seed of one tokenizer the outcome goes with {', '.join(moved)}" if moved else ""
    beyond = (
        "Where seeds train the tokenizer anew, a proxy may foretell part of what the ceiling takes for noise, and "
        f"shares above 100 % are possible{told}."
    )
    return [said, beyond]


def _attainable(limit: Ceiling) -> str:
    return shown(Correlation(value=limit.attainable, low=limit.low, high=limit.high, n=0))


def _predicts_seeds(report: ProxyReport) -> bool:
    """Whether seeds' differences surely go with the outcome's, and the same way as tokenizers' do."""
    moved, overall = report.seed_correlation, report.correlations.get(("spearman", "overall"))
    if moved is None or moved.low is None or moved.high is None or overall is None:
        return False
    return moved.low > 0 if overall.value > 0 else moved.high < 0


def _escaped(text: str) -> str:
    visible = printable(text)
    for character in "\\`*_[]<|":
        visible = visible.replace(character, f"\\{character}")
    return visible
