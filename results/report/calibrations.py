"""Calibrations of the runs on the page: each proxy against the outcome, with what the outcome's own noise allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..calibration.report import Calibration, ProxyReport, calibrate
from ..calibration.run_records import observe
from ..calibration.text import filled, notes
from ..errors import UserError
from ..rows import Row

LEAST = 5  # tokenizers, below which a rank correlation says nothing
MOST = 400  # tokenizers, above which a thousand resamples take longer than the page
_DRAWS = 400


def calibrations(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One per data set and outcome that enough tokenizers have; [] where none has.

    Each has the proxies' `table` (heads and lines of text), `notes`, and the points of every proxy to be drawn.
    """
    try:
        observed = observe(rows)
    except UserError:  # no generation, or too few tokenizers: there is nothing to calibrate
        return []
    chosen = [table for table in observed if LEAST <= len(table.items) <= MOST]
    return [_plain(calibrate(table, draws=_DRAWS)) for table in chosen]


def _plain(calibration: Calibration) -> dict[str, Any]:
    observations = calibration.observations
    heads, lines = filled(calibration, intervals=True)
    limit = calibration.ceilings.get(("spearman", "overall"))
    return {
        "title": observations.title,
        "outcome": observations.outcome,
        "direction": observations.direction,
        "heads": heads,
        "lines": lines,
        "notes": notes(calibration),
        "ceiling": None if limit is None else limit.attainable,
        "items": [{"name": item.name, "family": item.family, "outcome": item.mean} for item in observations.items],
        "proxies": [_proxy(calibration, report) for report in calibration.proxies],
    }


def _proxy(calibration: Calibration, report: ProxyReport) -> dict[str, Any]:
    observations, name = calibration.observations, report.predictor.name
    overall = report.correlations.get(("spearman", "overall"))
    return {
        "name": name,
        "baseline": report.predictor.baseline,
        "rho": None if overall is None else [overall.value, overall.low, overall.high],
        "values": [observations.value(item, name) for item in observations.items],
    }
