"""Coverage of a calibration's intervals: simulated families of tokenizers whose true correlations are known.

    python -P tests/coverage/calibration.py [DRAWS]

prints, for settings from one family of eight to twenty-five of one row, how often the 95 % intervals hold the
coefficient of an endless supply of such families, at the same number of seeds, and their mean width; before that, how
often a fitted score stops a tokenizer wrongly, has the best of new ones among its first three, and is said to have
skill when it tells codes from values alone. Not collected by pytest; tests/results/calibration has small versions.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from latentbench.results.calibration.correlation import KINDS, Kind, coefficient, partial
from latentbench.results.calibration.left_out import chances, half_width
from latentbench.results.calibration.levels import LEVELS, Level, Rows, correlate, level_coefficient, resample
from latentbench.results.calibration.made import CODES
from latentbench.results.calibration.observations import Observation, Observations, Predictor
from latentbench.results.calibration.reliability import ceiling
from latentbench.results.calibration.report import calibrate
from latentbench.results.calibration.score import Score, Term, fit_score, value_of
from latentbench.results.calibration.seeds import seed_correlation
from latentbench.results.calibration.stopping import margin_of, pair_margins, threshold

SETTINGS = (
    {"families": 25, "members": 1, "seeds": 1, "between": 0.8, "within": 0.0},
    {"families": 25, "members": 1, "seeds": 2, "between": 0.0, "within": 0.0},
    {"families": 10, "members": 1, "seeds": 1, "between": 0.9, "within": 0.0},
    {"families": 6, "members": 4, "seeds": 2, "between": 0.7, "within": 0.7},
    {"families": 8, "members": 4, "seeds": 2, "between": -0.5, "within": 0.9},
    {"families": 12, "members": 4, "seeds": 2, "between": 0.9, "within": 0.3},
    {"families": 1, "members": 20, "seeds": 2, "between": 0.0, "within": 0.8},
    {"families": 1, "members": 8, "seeds": 2, "between": 0.0, "within": 0.9},
)
NOISE = 0.3  # of a seed, against members' deviation of 1


def draw(rng: np.random.Generator, *, families: int, members: int, seeds: int, between: float, within: float) -> Rows:
    """Families whose means correlate at `between`, of members that correlate at `within` about them."""
    sides = []
    for shape, correlation in (((families, 1), between), ((families, members), within)):
        x, other = rng.normal(size=(2, *shape))
        sides.append((x, correlation * x + np.sqrt(1 - correlation**2) * other))
    x, y = ((sides[0][i] + sides[1][i]).ravel() for i in range(2))
    return Rows(
        x=x,
        outcomes=[value + NOISE * rng.normal(size=seeds) for value in y],
        family=np.repeat(np.arange(families), members),
        place=np.arange(families * members),
    )


def truth(level: Level, kind: Kind, repeats: int, **setting: float) -> float:
    """The coefficient of 300 families (or of a family of 300 rows), the mean over `repeats` draws of them."""
    one = setting["families"] == 1
    rng = np.random.default_rng(99)
    values = []
    for _ in range(repeats):
        rows = draw(rng, **setting | ({"members": 300} if one else {"families": 300}))  # type: ignore[arg-type]
        if level == "overall" and not one:
            rows = rows.only(range(0, len(rows), int(setting["members"])))  # one of each: as correlated, and quick
        values.append(level_coefficient(level, kind, rows))
    return float(np.mean(values))  # NaN for families of one row, which have none within


def coverage(
    draws: int = 300, resamples: int = 300, repeats: int = 10, **setting: float
) -> dict[tuple[Level, Kind], tuple[float, float]]:
    """The share of intervals that hold the truth, and their mean width, by level and kind."""
    true = {(level, kind): truth(level, kind, repeats, **setting) for level in LEVELS for kind in KINDS}
    hits: dict[tuple[Level, Kind], list[tuple[bool, float]]] = {}
    rng = np.random.default_rng(1)
    for number in range(draws):
        rows = draw(rng, **setting)  # type: ignore[arg-type]
        drawn = resample(rows, resamples, number)
        for key, value in true.items():
            result = correlate(*key, rows, drawn)
            if result is not None and result.low is not None and result.high is not None:
                hits.setdefault(key, []).append((result.low <= value <= result.high, result.high - result.low))
    return {key: tuple(np.mean(values, axis=0)) for key, values in hits.items()}  # type: ignore[misc]


def ceilings(
    families: int, members: int, noise: float, *, kind: Kind = "spearman", draws: int = 100, resamples: int = 200
) -> dict[Level, tuple[float, float, float]]:
    """Of tables with two seeds, whose family means and members vary alike: what a proxy that knows the outcome free of
    noise has in the mean; the mean ceiling; and how often the ceiling's interval holds the first (NaN without one)."""
    reached: dict[Level, list[float]] = {level: [] for level in LEVELS}
    limits: dict[Level, list[tuple[float, float, float]]] = {level: [] for level in LEVELS}
    rng = np.random.default_rng(3)
    for number in range(draws):
        family = np.repeat(np.arange(families), members)
        true = rng.normal(size=families)[family] + rng.normal(size=len(family))
        outcomes = [value + noise * rng.normal(size=2) for value in true]
        rows = Rows(x=true, outcomes=outcomes, family=family, place=np.arange(len(family)))
        for level in LEVELS:
            limit = ceiling(level, kind, rows, number, draws=resamples)
            if limit is not None:
                reached[level].append(level_coefficient(level, kind, rows))
                ends = [np.nan if end is None else end for end in (limit.low, limit.high)]
                limits[level].append((limit.attainable, ends[0], ends[1]))
    result: dict[Level, tuple[float, float, float]] = {}
    for level in LEVELS:
        if reached[level]:
            value, low, high = np.array(limits[level]).T
            mean = float(np.mean(reached[level]))
            holds = np.where(np.isnan(low), np.nan, (low <= mean) & (mean <= high))
            result[level] = mean, float(value.mean()), float(holds.mean())
    return result


def by_seed(
    rng: np.random.Generator, *, families: int, members: int, seeds: int, shared: float, unlike: float
) -> Observations:
    """Tokenizers whose proxy and outcome have a truth in common, and of the seeds' noise by Pearson's `shared`; noise
    is larger in some families than in others (its logarithm's deviation: `unlike`)."""
    size = np.exp(unlike * rng.normal(size=families)).repeat(members)[:, None]
    truth = rng.normal(size=(families * members, 1))
    noise, other = rng.normal(size=(2, families * members, seeds))
    outcomes = truth + size * noise
    proxy = truth + size * (shared * noise + np.sqrt(1 - shared**2) * other)
    items = tuple(
        Observation(
            name=str(i),
            family=str(i // members),
            outcome=tuple(outcomes[i].tolist()),
            values={"x": float(proxy[i].mean())},
            by_seed={"x": tuple(proxy[i].tolist())},
        )
        for i in range(len(truth))
    )
    return Observations(
        title="", outcome="gfd", direction="lower", items=items, predictors=(Predictor(name="x", direction="lower"),)
    )


def coverage_by_seed(*, draws: int = 100, resamples: int = 200, **setting: float) -> tuple[float, float, float]:
    """How often the interval of a correlation between seeds holds that of an endless supply of families; the mean
    width; and that correlation."""
    rng = np.random.default_rng(11)
    many = seed_correlation(by_seed(rng, **setting | {"families": 3000}), "x", 2, 0)  # type: ignore[arg-type]
    assert many is not None
    hits, widths = [], []
    for number in range(draws):
        found = seed_correlation(by_seed(rng, **setting), "x", resamples, number)  # type: ignore[arg-type]
        if found is not None and found.low is not None and found.high is not None:
            hits.append(found.low <= many.value <= found.high)
            widths.append(found.high - found.low)
    return float(np.mean(hits)), float(np.mean(widths)), many.value


def observed(rng: np.random.Generator, families: int, members: int, knows: float, baseline: float) -> Observations:
    """Tokenizers of whose outcome a proxy `x` and the baseline `psnr` know a part each; and their `rate`."""
    family = np.repeat(np.arange(families), members)
    truth, rate = (rng.normal(size=families)[family] + rng.normal(size=len(family)) for _ in range(2))
    columns = {"x": knows * truth, "psnr": baseline * truth}
    columns = {name: values + rng.normal(size=len(family)) for name, values in columns.items()} | {"rate": rate}
    outcomes = (truth + 0.7 * rate)[:, None] + NOISE * rng.normal(size=(len(family), 2))
    items = tuple(
        Observation(
            name=f"t{i}",
            family=f"f{family[i]}",
            outcome=tuple(outcomes[i].tolist()),
            values={name: float(values[i]) for name, values in columns.items()},
        )
        for i in range(len(family))
    )
    predictors = (Predictor(name="x"), Predictor(name="psnr", baseline=True))
    return Observations(title="", outcome="gfd", direction="lower", items=items, predictors=predictors, fixed=("rate",))


def coverage_of_comparisons(
    families: int, members: int, knows: float, baseline: float, *, draws: int = 100, resamples: int = 200
) -> dict[str, float]:
    """How often the intervals of the gain over the best baseline, and of the partial coefficient, hold the truth."""
    rng = np.random.default_rng(5)
    many = [observed(rng, 250, 1, knows, baseline) for _ in range(5)]
    gain, part = (float(np.mean(values)) for values in zip(*map(_comparisons, many), strict=True))
    hits = []
    for number in range(draws):
        table = observed(rng, families, members, knows, baseline)
        with patch("latentbench.results.calibration.report.corrected_p", return_value={}):  # p is not asked for
            calibration = calibrate(table, draws=resamples, seed=number)
        report = next(r for r in calibration.proxies if r.predictor.name == "x")
        intervals = (report.gain, gain), (report.partial, part)
        hits.append([c is not None and c.low is not None and c.low <= t <= (c.high or 0) for c, t in intervals])
    shares = np.mean(hits, axis=0)
    return {"gain": float(shares[0]), "partial": float(shares[1])}


def _comparisons(table: Observations) -> tuple[float, float]:
    x, psnr = table.rows("x"), table.rows("psnr")
    rate = np.array([[item.values["rate"]] for item in table.items])
    strengths = [abs(coefficient("spearman", rows.x, rows.y)) for rows in (x, psnr)]
    return strengths[0] - strengths[1], partial(x.x, x.y, rate)


def stopped(families: int, risk: float, *, draws: int) -> tuple[float, float, float]:
    """Of fits to so many families of three, with a score of two proxies out of six: how often a tokenizer of a new
    family is stopped in favour of a worse one of another, or of the best of five others though it is better; and the
    share of new tokenizers that are stopped for that best one."""
    rng = np.random.default_rng(0)
    wronged, by_the_best, share = [], [], []
    for _ in range(draws):
        fitted = [_families(rng, families)]
        score, limit = fit_score(fitted), threshold(pair_margins(fitted), risk)
        new = _families(rng, 6).items
        guesses = np.array([value_of(replace(score, terms=_unbounded(score)), item.values)[0] or 0.0 for item in new])
        outcomes = np.array([item.mean for item in new])
        wronged.append(margin_of(guesses[:3], outcomes[:3], guesses[3:6], outcomes[3:6]) > limit)
        best = 3 + int(outcomes[3:].argmin())
        over = guesses[:3] - guesses[best] > limit
        by_the_best.append((over & (outcomes[:3] < outcomes[best])).any())
        share.append(over.mean())
    return float(np.mean(wronged)), float(np.mean(by_the_best)), float(np.mean(share))


def chosen(families: int, weight: float, *, draws: int, resamples: int = 100) -> tuple[float, float, float]:
    """Of fits to so many families of three, those with skill: how probably the best of 21 new tokenizers of seven
    families is said to be among the three with the best scores, how often it is; and the share of new tokenizers within
    `half_width` of their score."""
    rng = np.random.default_rng(0)
    said, true, inside = [], [], []
    while len(said) < draws:
        fitted, new = _families(rng, families, weight), _families(rng, 7, weight)
        score = fit_score([fitted], draws=resamples)
        if not score.has_skill:
            continue
        score = replace(score, terms=_unbounded(score))
        guesses = np.array([value_of(score, item.values)[0] or 0.0 for item in new.items])
        outcomes, known = (np.array([item.mean for item in table.items]) for table in (new, fitted))
        three = guesses.argsort()[:3]
        said.append(chances(guesses.tolist(), [item.family for item in new.items], score)[three].sum())
        true.append(outcomes.argmin() in three)
        away = np.abs((outcomes - known.mean()) / known.std() - guesses)
        inside.append(np.mean(away <= (half_width(score) or 0.0)))
    return float(np.mean(said)), float(np.mean(true)), float(np.mean(inside))


def kinds_alone(gap: float, *, draws: int, resamples: int = 100) -> tuple[float, float, float]:
    """Of fits to eight families of three, half of them of codes whose outcome is `gap` more, and proxies that know
    nothing: how often one is taken; and of fits made to take one, how often the rank correlation's interval lies above
    zero, and how often there is said to be skill."""
    rng = np.random.default_rng(0)
    taken, ordered, skill = [], [], []
    for _ in range(draws):
        table = _families(rng, 8, weight=0.0)
        items = []
        for item in table.items:
            code = float(int(item.family) < 4)
            outcome = tuple(value + gap * code for value in item.outcome)
            items.append(replace(item, outcome=outcome, values={**item.values, CODES: code}))
        table = replace(table, items=tuple(items))
        taken.append(bool(fit_score([table], draws=2).terms))
        score = fit_score([table], least=1, draws=resamples)
        ordered.append(score.families.is_shown)
        skill.append(score.has_skill)
    return float(np.mean(taken)), float(np.mean(ordered)), float(np.mean(skill))


def _families(rng: np.random.Generator, count: int, weight: float = 3.0) -> Observations:
    """Families whose outcome is `weight` (p0 − p1) with noise of deviation one, half of its variance the family's."""
    items = []
    for family in range(count):
        shift, base = rng.standard_normal(6), rng.standard_normal()
        for row in range(3):
            x = shift + rng.standard_normal(6)
            y = weight * (x[0] - x[1]) + (base + rng.standard_normal()) / 2**0.5
            values = {f"p{i}": float(v) for i, v in enumerate(x)}
            items.append(Observation(name=f"{family}.{row}", family=str(family), outcome=(y,), values=values))
    predictors = tuple(Predictor(name=f"p{i}") for i in range(6))
    return Observations(title="", outcome="y", direction="lower", items=tuple(items), predictors=predictors)


def _unbounded(score: Score) -> tuple[Term, ...]:
    """Terms that withhold nothing: what is stopped is decided by the threshold alone."""
    return tuple(replace(term, low=-1e9, high=1e9) for term in score.terms)


def main(draws: int) -> None:
    """Print the table."""
    for families, risk in ((8, 0.2), (18, 0.1), (18, 0.3)):
        print(f"stopped, {families} families, risk {risk}: {stopped(families, risk, draws=draws)}", flush=True)
    for families, weight in ((9, 1.0), (18, 1.0), (9, 3.0)):
        print(f"chosen, {families} families, weight {weight}: {chosen(families, weight, draws=draws)}", flush=True)
    for gap in (0.0, 2.0, 4.0):
        print(f"codes and values {gap} apart, noise else: {kinds_alone(gap, draws=draws)}", flush=True)
    for families, members in ((8, 4), (25, 1)):
        for knows, baseline in ((1.0, 1.0), (2.0, 0.5)):
            shares = coverage_of_comparisons(families, members, knows, baseline, draws=draws)
            print(f"families {families}, members {members}, proxy {knows}, baseline {baseline}: {shares}", flush=True)
    for families, members, noise in ((8, 4, 0.5), (8, 4, 1.0), (5, 5, 1.0), (3, 4, 0.7), (25, 1, 0.7)):
        for kind in KINDS:
            shares = ceilings(families, members, noise, kind=kind, draws=draws)
            print(f"ceilings, {families} families of {members}, noise {noise}, {kind}: {shares}", flush=True)
    for families, members, seeds in ((6, 4, 2), (12, 2, 2), (14, 4, 2), (14, 4, 3), (25, 1, 2)):
        for shared, unlike in ((0.0, 0.0), (0.0, 0.7), (0.6, 0.0), (0.6, 0.7), (0.9, 0.7)):
            one = {"families": families, "members": members, "seeds": seeds, "shared": shared, "unlike": unlike}
            shares = coverage_by_seed(draws=draws, **one)
            print(f"between seeds, {', '.join(f'{name} {value}' for name, value in one.items())}: {shares}", flush=True)
    for setting in SETTINGS:
        print(", ".join(f"{name} {value}" for name, value in setting.items()))
        for (level, kind), (share, width) in coverage(draws, **setting).items():
            print(f"    {level:8} {kind:9} {share:6.1%}  width {width:.2f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
