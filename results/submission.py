"""Whether a run is fit to be published: complete, of one protocol per column, and made so that it can be repeated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .columns import mixed_metrics
from .errors import UserError
from .groups import Group, aggregate, split
from .lines import protocols_of
from .record import Record
from .rows import Row, rows
from .store import Store

SEEDS = 2  # at least: one training does not tell how far another would lie from it
PACKAGES = ("latentbench", "torch", "numpy")
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{8,64}")


def submission_gaps(folder: Path | str) -> list[str]:
    """What the run in `folder` lacks before it is published, a line each; [] where nothing does.

    Raises UserError for what is no run's folder.
    """
    store = Store(folder)
    table = rows([store], boards=False)
    if not table:
        raise UserError(f"{store.root}: its suites have no cells; give the --out folder of a run")
    groups = aggregate(table)
    records = [record for record in _records(store, table) if record.status == "finished"]
    return [
        *_unfinished(table),
        *_damaged(store, records),
        *_protocols(groups),
        *_seeds(groups),
        *(line for check in _CHECKS for line in check(records)),
    ]


def _records(store: Store, table: Sequence[Row]) -> Iterator[Record]:
    """Of the jobs of the table's cells, and of those that they read, once each."""
    waiting = list(dict.fromkeys(job for row in table for job in row.jobs.values()))
    seen = set(waiting)
    while waiting:
        record = store.outcome(*waiting.pop(0).split("/"))
        if record is None:
            continue
        yield record
        waiting += [job for job in record.depends if job not in seen]
        seen.update(record.depends)


def _unfinished(table: Sequence[Row]) -> list[str]:
    return [
        f"not complete: {row['suite']}, {row['cell']}: {row['status']}" for row in table if row["status"] != "finished"
    ]


def _damaged(store: Store, records: Sequence[Record]) -> list[str]:
    reasons = ((record, store.damage(record)) for record in records)
    return [f"damaged: {record.kind}/{record.key}: {reason}" for record, reason in reasons if reason is not None]


def _protocols(groups: Sequence[Group]) -> list[str]:
    """Columns for which tables are read and that were measured in two ways; rates' protocols may differ."""
    lines = []
    for members in split(groups):
        for name in mixed_metrics(members):
            protocols = list(protocols_of(members, name))
            place = f"{members[0].suite}, {members[0].dataset}"
            lines.append(f"{len(protocols)} protocols: {place}: {name}: {protocols[0]!r} and {protocols[1]!r}")
    return lines


def _seeds(groups: Sequence[Group]) -> list[str]:
    """Lines of one seed, where training made the tokenizer or the prior; what seeds do not change needs one."""
    lines = []
    for group in groups:
        seeds = {row["seed"] for row in group.rows}
        if len(seeds) < SEEDS and any(group.mean(name) for name in ("tokenizer_flops", "prior_flops")):
            place = f"{group.suite}, {group.dataset}, {group.title}"
            lines.append(f"one seed: {place} ({group.rows[0]['cell']}): expected {SEEDS} or more")
    return lines


def _versions(records: Sequence[Record]) -> list[str]:
    lines = []
    for name in PACKAGES:
        without = [record for record in records if _table(record.run, "versions").get(name, "unknown") == "unknown"]
        lines += _line(f"no version of {name} recorded", without)
    return lines


def _imports(records: Sequence[Record]) -> list[str]:
    def unhashed(record: Record) -> bool:
        return any(not _is_digest(digest) for digest in _table(record.run, "imports").values())

    return _line("a module of yours was imported without a hash of its file", [r for r in records if unhashed(r)])


def _fingerprints(records: Sequence[Record]) -> list[str]:
    data = [record for record in records if record.kind == "data"]
    if not data:
        return ["no fingerprint of the data: no finished record of kind data"]
    return _line("no fingerprint of the data", [record for record in data if not record.config.get("fingerprint")])


def _weights(records: Sequence[Record]) -> list[str]:
    return _line("weights without a hash", [record for record in records if _unhashed(record.config)])


def _unhashed(config: Any, name: str = "") -> bool:
    """Whether what stands under `weights` and `files` anywhere in a configuration is not known by its content."""
    if isinstance(config, Mapping):
        return any(_unhashed(value, name if name in ("weights", "files") else key) for key, value in config.items())
    if isinstance(config, list | tuple):
        return any(_unhashed(value, name) for value in config)
    return name in ("weights", "files") and isinstance(config, str) and config != "" and not _is_digest(config)


_CHECKS: tuple[Callable[[Sequence[Record]], list[str]], ...] = (_versions, _imports, _fingerprints, _weights)


def _table(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = run.get(name)
    return value if isinstance(value, Mapping) else {}


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def _line(what: str, records: Sequence[Record]) -> list[str]:
    """One line for all records that lack the same, which names the first."""
    if not records:
        return []
    more = f" and {len(records) - 1} more" if len(records) > 1 else ""
    return [f"{what}: {records[0].kind}/{records[0].key}{more}"]
