"""What is to be shown of the jobs that were planned in a folder, read from its plans' first two lines. Torch-free, and
without what reads records or suites: a status imports it.

The file's form is that of `bench.plan_file`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from ..results.errors import UserError
from ..results.gates import Gate, union
from ..results.record_file import UPDATE

PLANS = "plans"
SCHEMA = 2


def columns(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """What is to be shown of jobs, from their kind, key, title, FLOPs, the ids that they depend on and maybe gates, as
    a plan holds it: columns, since lists of 100,000 jobs are read for each status. Job i depends on those at the places
    `needs[ends[i - 1]:ends[i]]`; the `gates` are by its place."""
    jobs = [f"{row[0]}/{row[1]}" for row in rows]
    places = {job: place for place, job in enumerate(jobs)}
    needs = [[places[job] for job in row[4] if job in places] for row in rows]
    return {
        "jobs": jobs,
        "titles": [row[2] for row in rows],
        "flops": [row[3] for row in rows],
        "ends": list(accumulate(map(len, needs))),
        "needs": list(chain.from_iterable(needs)),
        "gates": {str(place): row[5] for place, row in enumerate(rows) if len(row) > 5},
    }


def _update_to_2(data: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 had a list per job."""
    return {**data, "shown": columns(data["shown"])}


# Version N's function takes a plan as JSON of schema N - 1 to that of N: the table of facts, in it `shown` (the second
# line) and, unless only these two were read, `jobs` (the others). Schema 1 is the first.
UPDATES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {2: _update_to_2}

_COLUMNS: dict[str, set[type]] = {
    "jobs": {str},
    "titles": {str},
    "flops": {int, float, type(None)},
    "ends": {int},
    "needs": {int},
}

CURE = "the same `latentbench run` writes it anew"

_CHUNK = 1 << 20  # bytes that are read at once: lines are long


class Planned(NamedTuple):
    """What is to be shown of a job; `depends` are the ids of those it needs, `gates` those that hold it back."""

    kind: str
    key: str
    title: str
    flops: float = 0.0
    depends: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()

    @property
    def id(self) -> str:
        """As `Job.id`."""
        return f"{self.kind}/{self.key}"


class Overview(Mapping[str, Planned]):
    """What is to be shown of the jobs of plans, by id, each after those it needs. `plans` are their `columns`; a
    `Planned` is made when it is asked for, since there may be 100,000."""

    def __init__(self, plans: Sequence[Mapping[str, Any]]) -> None:
        self._plans = plans
        self._jobs = plans[0]["jobs"] if len(plans) == 1 else list(dict.fromkeys(chain(*(p["jobs"] for p in plans))))

    @cached_property
    def _places(self) -> list[dict[str, int]]:
        return [dict(zip(plan["jobs"], range(len(plan["jobs"])), strict=True)) for plan in self._plans]

    def __getitem__(self, job: str) -> Planned:
        of = [_planned(p, places[job]) for p, places in zip(self._plans, self._places, strict=True) if job in places]
        if not of:
            raise KeyError(job)
        return of[0] if len(of) == 1 else of[-1]._replace(gates=union(one.gates for one in of))

    def __iter__(self) -> Iterator[str]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: object) -> bool:
        return any(job in places for places in self._places)


def _planned(plan: Mapping[str, Any], place: int) -> Planned:
    jobs, ends = plan["jobs"], plan["ends"]
    kind, _, key = jobs[place].partition("/")
    needs = plan["needs"][ends[place - 1] if place else 0 : ends[place]]
    gates = tuple(Gate(**gate) for gate in plan["gates"].get(str(place), ())) if plan["gates"] else ()
    return Planned(kind, key, plan["titles"][place], plan["flops"][place] or 0.0, tuple(jobs[i] for i in needs), gates)


def read_overview(root: Path) -> Overview:
    """What is to be shown of the plans' jobs, read in a moment: the files' digests are unchecked.

    Raises UserError as `plan_file.read_plans` does.
    """
    plans = []
    for path in plan_paths(root):
        try:
            with path.open("rb", buffering=_CHUNK) as file:
                facts = json.loads(file.readline())
                check_schema(facts["schema"])
                shown = from_json(file.readline(), cache_strings="keys")  # other texts hardly stand there twice
            plans.append(updated({**facts, "shown": shown})["shown"])
            _check(plans[-1])
        except NewerPlan as error:
            raise UserError(f"{path}: {error}; {UPDATE}") from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not a plan: {explained(error)}; {CURE}") from None
    return Overview(plans)


def explained(error: Exception) -> str:
    """What is wrong with a plan's file: in words, where Python's own would mean nothing to who reads them."""
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) if isinstance(error, ValueError) else f"it has other columns than its schema ({error})"


def shares_work(root: Path) -> bool:
    """Whether a plan in the folder is for `latentbench work`. Raises UserError as `plan_paths` does."""
    for path in plan_paths(root):
        with suppress(OSError, ValueError, LookupError, TypeError), path.open("rb") as file:
            if json.loads(file.readline())["engine"] == "leases":
                return True
    return False


def _check(shown: Mapping[str, Any]) -> None:
    """Raises ValueError, TypeError or LookupError for columns that can't be those of one plan."""
    for name, types in _COLUMNS.items():
        if not isinstance(shown[name], list) or not {*map(type, shown[name])} <= types:
            raise ValueError(f"its column {name!r} holds what it can't")
    places, ends = shown["needs"], shown["ends"]
    if places and not 0 <= min(places) <= max(places) < len(shown["jobs"]):
        raise ValueError("what its jobs need are none of its jobs")
    if ends and (ends[0] < 0 or sorted(ends) != ends):
        raise ValueError("of some jobs it is not told what they need")
    if len({len(shown[name]) for name in ("jobs", "titles", "flops", "ends")}) != 1:
        raise ValueError("of some jobs too little is told")
    if shown["ends"] and len(shown["needs"]) != shown["ends"][-1]:
        raise ValueError("of some jobs it is not told what they need")
    for gate in chain.from_iterable(shown["gates"].values()):
        Gate(**gate)


def plan_paths(root: Path) -> list[Path]:
    """The files of all plans in the folder, by name. Raises UserError."""
    try:
        return sorted(path for path in (root / PLANS).iterdir() if path.suffix == ".jsonl")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {root / PLANS}: {error.strerror or error}") from None


def updated(data: dict[str, Any]) -> dict[str, Any]:
    """A plan as JSON of this version's schema."""
    for version in range(data["schema"] + 1, SCHEMA + 1):
        data = {**UPDATES[version](data), "schema": version}
    return data


class NewerPlan(ValueError):
    """The plan is of a newer version: nothing is wrong with it, and it is kept."""


def check_schema(schema: Any) -> None:
    """Raises ValueError for a schema that this version does not read."""
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ValueError(f"schema {schema!r} is no version number")
    if schema > SCHEMA:
        raise NewerPlan(f"schema {schema} is newer than this version reads (up to {SCHEMA})")
