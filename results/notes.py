"""What stands below a table: how its intervals came about, which lines differ, protocols, what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .comparable import OF_PRIORS
from .gates import NO_PRIOR
from .groups import Group, Ranking, detail, direction_of
from .halving import STOPPED
from .lines import as_lines, protocols_of
from .pairwise import MOST
from .statistics import alike

ARROWS = {"higher": "↑", "lower": "↓", "none": ""}
DOUBT = "†"  # behind a value that is to be doubted

# Up to this many pairs are listed one by one, and up to this many groups of lines that are alike.
_PAIRS = 10
_GROUPS = 24
_FAILURES = 8
_REFERENCE = re.compile(r"reference: (\w+) split")
# What a reader would else take for more than it is.
_FACTS = {
    "codebook_use": "a lower bound where codes are rare: those never seen are estimated from those seen once or twice"
}


def notes(
    groups: Sequence[Group],
    metrics: Sequence[str],
    compared: Ranking | None,
    front: Sequence[str],
    common: Mapping[str, Any],
    *,
    legend: str,
    unmarked: Sequence[str],
    mixed: Sequence[str],
    forbidden: Mapping[str, str],
) -> list[str]:
    """The notes of a table, one sentence or list each, in the order in which they are read.

    `legend` is their `intervals_note`; `unmarked` are metrics without any interval, `mixed` those left out for their
    differing protocols, `forbidden` those by which lines may not be compared, with the reason.
    """
    result = []
    if common:
        result.append(f"All lines: {', '.join(f'{axis} = {value}' for axis, value in common.items())}.")
    if len(groups) > MOST:
        unmarked = []
        result.append(f"More than {MOST:,} lines are not compared: no rank, no best; keep fewer with --where.")
    result += preset_notes(groups)
    result.append(legend)
    if front:
        axes = " and ".join(f"{name} {ARROWS[direction_of(groups, name)]}" for name in front)
        result.append(f"●: on the Pareto front of {axes} (means).")
    if unmarked:
        result.append(f"No interval is known for {', '.join(unmarked)}: no best is marked. More seeds give one.")
    reasons: dict[str, list[str]] = {}
    for name, reason in forbidden.items():
        reasons.setdefault(reason, []).append(name)
    result += [f"{', '.join(names)}: no best and no rank, since {reason}." for reason, names in reasons.items()]
    if compared is not None:
        result += _differences(groups, compared)
    result += _protocols(groups, metrics)
    result += _blind(groups, metrics)
    result += _references(groups, metrics)
    result += [f"{name}: {fact}." for name, fact in _FACTS.items() if name in metrics]
    if mixed:
        result.append(f"Left out, since their protocols differ between lines: {', '.join(mixed)}; see --format json.")
    result += doubts_notes(groups, metrics)
    result += marks_notes(groups)
    result += gate_notes(groups, compared)
    result += stopped_notes(groups, compared)
    result += unfinished_notes(groups)
    return [note for note in result if note]


def preset_notes(groups: Sequence[Group]) -> list[str]:
    """Which lines were made under a named protocol."""
    lines: dict[str, list[int]] = {}
    for number, group in enumerate(groups if "preset" in as_lines(groups).columns else ()):
        for name in dict.fromkeys(row.columns["preset"] for row in group.rows if "preset" in row.columns):
            lines.setdefault(name, []).append(number)
    return [
        f"Made under the protocol {name}{'' if len(places) == len(groups) else f': {_ranges(places)}'}."
        for name, places in lines.items()
    ]


def intervals_note(groups: Sequence[Group], metrics: Sequence[str]) -> str:
    """What ± and bold mean in these lines; "" without metrics."""
    if not metrics:
        return ""
    lines = as_lines(groups)
    known = [lines.estimates(metric) for metric in metrics]
    counts = {n for of in known for n, frozen in zip(of.counts, of.frozen, strict=True) if n and not frozen}
    many, one = any(n > 1 for n in counts), 1 in counts
    both = many and any(
        of.counts[line] > 1 and lines[line].entry(metric).sampled
        for metric, of in zip(metrics, known, strict=True)
        for line in lines.by_sample(metric)
    )
    where = ["over seeds, and over samples where their values were kept" if both else "over seeds (Student's t)"]
    where = where if many else []
    where += ["within the run where there is one seed" if many else "within the run (one seed)"] if one else []
    where += ["over samples where seeds change nothing"] if any(any(of.frozen) for of in known) else []
    bare = ""
    if any(n and half is None for of in known for n, half in zip(of.counts, of.halves, strict=True)):
        bare = (
            " A value without ± has no interval of its own: it is compared only where other lines have several seeds."
        )
    return f"±: half of the 95 % interval {', '.join(where)}. Bold: the best, and what does not differ from it.{bare}"


_NAMED = 100  # lines, up to which pairs that differ are told


def _differences(groups: Sequence[Group], compared: Ranking) -> list[str]:
    """Which lines differ by the ranking metric beyond the 95 % interval of their difference."""
    valued = [i for i, rank in enumerate(compared.ranks) if rank is not None]
    if len(valued) < 2:
        return []
    total = len(valued) * (len(valued) - 1) // 2
    head = f"Rank by {compared.metric} {ARROWS[compared.direction]}: 1 + the number of lines that are better beyond"
    together_hold = " (intervals that all hold together)" if total > 1 else ""
    head += f" the 95 % interval of the difference{together_hold}; {compared.count} of {total} pairs of lines differ."
    sign = 1 if compared.direction == "higher" else -1
    if total <= _PAIRS:
        apart, together = [], []
        for place, i in enumerate(valued):
            for j in valued[place + 1 :]:
                d = compared.apart.get((i, j))
                if d is None:
                    together.append(f"#{i + 1} ~ #{j + 1}")
                    continue
                better, worse = (i, j) if sign * d.value > 0 else (j, i)
                flip = 1 if better == i else -1
                low, high = sorted((flip * d.low, flip * d.high))
                apart.append(f"#{better + 1} > #{worse + 1} by {flip * d.value:+.3g} [{low:.3g}, {high:.3g}]")
        result = [head]
        if apart:
            result.append(f"Better, with the difference in {compared.metric}: {'; '.join(apart)}.")
        if together:
            result.append(f"No difference in {compared.metric}: {', '.join(together)}.")
        return result
    if len(valued) > _NAMED:
        return [head, f"Which pairs differ is told of up to {_NAMED} lines; keep fewer with --where."]
    place_of = {line: place for place, line in enumerate(valued)}
    alike_lines = alike(len(valued), [(place_of[i], place_of[j]) for i, j in compared.apart], limit=_GROUPS)
    if alike_lines is None:
        apart_from: dict[int, list[int]] = {}
        for i, j in sorted(compared.apart):
            apart_from.setdefault(i, []).append(j)
        pairs = "; ".join(f"#{i + 1} from {_ranges(others)}" for i, others in apart_from.items())
        return [head, f"Differ by {compared.metric}: {pairs}. No other pair differs."]
    if not alike_lines:
        return [head, "All pairs of lines differ."]
    text = "; ".join(" ".join(f"#{valued[i] + 1}" for i in group) for group in alike_lines)
    return [head, f"No difference in {compared.metric}: {text}. Lines in no such group together differ."]


def _ranges(places: Sequence[int]) -> str:
    """Ascending places as line numbers, runs drawn together: #2, #4–#7."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return ", ".join(f"#{a + 1}" if a == b else f"#{a + 1}–#{b + 1}" for a, b in runs)


def _protocols(groups: Sequence[Group], metrics: Sequence[str]) -> list[str]:
    """One note per protocol, with the metrics, units and sample counts that share it; rates have theirs by line."""
    shared: dict[tuple[str, str, str], list[str]] = {}
    rates: dict[str, list[str]] = {}
    missing = []
    for name in metrics:
        ways = as_lines(groups).ways(name)
        measured = [metric for _, metric, _ in ways]
        if not measured:
            continue
        if measured[0].role == "rate":
            rates.setdefault(_estimates(groups, name), []).append(name)
            continue
        counts = sorted({metric.n for metric in measured})
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        shared.setdefault((measured[0].protocol, measured[0].unit, n), []).append(name)
        lost = sum(metric.missing * rows for _, metric, rows in ways)
        if lost:
            missing.append(f"{name} is not defined for {lost} samples, which are left out of it.")
    result = [f"{', '.join(names)}: {estimates}." for estimates, names in rates.items() if estimates]
    for (protocol, unit, n), names in shared.items():
        facts = [fact for fact in (unit, f"n = {n}" if n != "0" else "", protocol) if fact]
        if facts:
            result.append(f"{', '.join(names)}: {'; '.join(facts)}.")
    return result + missing


def _blind(groups: Sequence[Group], metrics: Sequence[str]) -> list[str]:
    """One note for each thing that some of the metrics hardly see."""
    shared: dict[str, list[str]] = {}
    for name in metrics:
        for text in dict.fromkeys([metric.blind_to for _, metric, _ in as_lines(groups).ways(name) if metric.blind_to]):
            shared.setdefault(text, []).append(name)
    return [f"Nearly blind to {text}: {', '.join(names)}." for text, names in shared.items()]


def _references(groups: Sequence[Group], metrics: Sequence[str]) -> list[str]:
    """Which reference sets the shown distances have, where they differ or have a floor beside them."""
    splits: dict[str, list[str]] = {}
    for name in metrics:
        known = detail(groups, name)
        for protocol in protocols_of(groups, name) if known is not None and known.role == "distribution" else ():
            split = _REFERENCE.search(protocol)
            if split is not None and name not in splits.setdefault(split[1], []):
                splits[split[1]].append(name)
    result = []
    if len(splits) > 1:
        sides = "; ".join(f"{', '.join(names)} from the {split} split" for split, names in splits.items())
        result.append(f"Distances from different sets are not to be held against each other: {sides}.")
    floors = [name for name in metrics if name.startswith("fd_floor_")]
    if floors:
        result.append(
            f"{', '.join(floors)}: the distance that as many real signals have, and so the least to expect of samples "
            "(gfd); reconstructions (rfd) have their own originals in the reference, and no floor."
        )
    return result


def _estimates(groups: Sequence[Group], rate: str) -> str:
    """The protocols of a rate, each with its lines where there are several: what a tokenizer's latents allow."""
    lines: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        for protocol in dict.fromkeys(one.protocol for one in group.measured(rate)):
            lines.setdefault(protocol, []).append(number)
    if len(lines) < 2:
        return "".join(lines)
    ends = {protocol.rpartition("; ")[2] for protocol in lines}
    shared = f"; {ends.pop()}" if len(ends) == 1 else ""  # as the split is
    parts = [f"{_ranges(places)} {protocol.removesuffix(shared)}" for protocol, places in lines.items()]
    return "; ".join(parts) + shared


def doubts_notes(groups: Sequence[Group], metrics: Sequence[str]) -> list[str]:
    """What is to be doubted of values that stand with a mark, and why others are withheld, with their lines."""
    result = []
    for name in metrics:
        lines: dict[str, list[int]] = {}
        for number in as_lines(groups).doubtful:
            for text in groups[number].doubts(name):
                lines.setdefault(text, []).append(number)
        told = "; ".join(f"{_ranges(places)}: {text}" for text, places in lines.items())
        if told:
            result.append(f"{name}, {DOUBT} or withheld: {told}.")
    return result


def marks_notes(groups: Sequence[Group]) -> list[str]:
    """What the contract checks of an adapter's tokenizer complain of, line by line."""
    lines = []
    for place in as_lines(groups).marked:
        marks = dict.fromkeys(mark for row in groups[place].rows for mark in row.marks)
        lines.append(f"Contract of #{place + 1} {groups[place].title}: {'; '.join(marks)}.")
    return lines


def gate_notes(groups: Sequence[Group], compared: Ranking | None) -> list[str]:
    """Which lines have no prior since a gate let none through, by reason; and that they are not ranked."""
    lines: dict[str, list[int]] = {}
    for number in as_lines(groups).unfinished:
        for row in groups[number].rows:
            status = str(row["status"])
            if status.startswith(NO_PRIOR):
                places = lines.setdefault(status.removeprefix(f"{NO_PRIOR}: "), [])
                places += [] if number in places else [number]
    result = [f"† No prior: {_ranges(places)}, {why}." for why, places in lines.items()]
    if len(result) > _FAILURES:
        result = [*result[:_FAILURES], f"† No prior: {len(result) - _FAILURES} more reasons; --format json has them."]
    known = None if compared is None else detail(groups, compared.metric)
    if result and compared is not None and known is not None and known.role in OF_PRIORS:
        missing = sum(not group.values(compared.metric) for group in groups)
        if missing:
            them = "1 line has" if missing == 1 else f"{missing} lines have"
            result.append(
                f"Rank by {compared.metric} is among lines with a prior: {them} none, and might stand anywhere."
            )
    return result


def stopped_notes(groups: Sequence[Group], compared: Ranking | None) -> list[str]:
    """Which lines' trainings were stopped early, by reason; and that they are not ranked."""
    lines: dict[str, list[int]] = {}
    unfinished = as_lines(groups).unfinished
    for number in unfinished:
        for status in dict.fromkeys(str(row["status"]) for row in groups[number].rows):
            if status.startswith(STOPPED):
                lines.setdefault(status, []).append(number)
    result = [f"‡ {_ranges(places)} {why}." for why, places in lines.items()]
    if len(result) > _FAILURES:
        result = [*result[:_FAILURES], f"‡ Stopped: {len(result) - _FAILURES} more reasons; --format json has them."]
    stopped = [groups[number] for number in unfinished if groups[number].stopped]
    missing = 0 if compared is None else sum(not group.values(compared.metric) for group in stopped)
    if compared is not None and missing:
        them = "1 line was" if missing == 1 else f"{missing} lines were"
        result.append(f"Rank by {compared.metric} is among whole trainings: {them} stopped, and might stand anywhere.")
    return result


def unfinished_notes(groups: Sequence[Group]) -> list[str]:
    """The cells that have not finished, each with its status, the first few."""
    lines = []
    for place in as_lines(groups).unfinished:
        group = groups[place]
        for row in group.rows:
            if row["status"] != "finished" and not str(row["status"]).startswith((NO_PRIOR, STOPPED)):
                told = f"{group.title}, seed {row['seed']}: {row['status'].rstrip('.')}"
                lines.append(f"Not finished: #{place + 1} {told}.")
    if len(lines) > _FAILURES:
        lines = [*lines[:_FAILURES], f"Not finished: {len(lines) - _FAILURES} more cells; --format json has them all."]
    return lines
