"""From tables of prior options to one prior: the suite's `[prior]`, an entry's laid over it, grid axes over both.

Torch-free. A layer is a table with the place that it was read from, for messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..results.errors import UserError, unknown
from ..tasks.priors.config import PriorConfig, choose, priors, resolve_prior
from ..tokenizers.options import merge
from ..tokenizers.spec import LatentSpec
from ..tokenizers.training import TrainingConfig
from ..tokenizers.validation import check
from .datasets.config import DataConfig
from .datasets.labels import class_count

Layer = tuple[Mapping[str, Any], str]

AUTO = "auto"


def as_table(prior: Any, where: str) -> Mapping[str, Any]:
    """An entry's `prior`: a table, or a name that stands for `{name = ...}`. Raises UserError for anything else."""
    if isinstance(prior, str):
        return {"name": prior}
    if not isinstance(prior, Mapping):
        raise UserError(f"{where}: expected a prior's name or a table, got {prior!r}")
    return prior


def check_table(table: Mapping[str, Any], where: str, *, below: Sequence[Layer] = ()) -> None:
    """Check a `[prior]`: `name`, a `training` table for all priors, a table of options per prior, even of unused ones.

    Options count with those of the layers `below` it, which have been checked: a guidance may stand above its classes.
    Raises UserError that starts with the place of the error.
    """
    for key, value in table.items():
        if key not in ("name", "training", *priors.names()):
            raise unknown("key", key, ["name", "training", *priors.names()], where=where)
        if key != "name" and not isinstance(value, Mapping):
            raise UserError(f"{where}.{key}: expected a table, got {value!r}")
    name = table.get("name", AUTO)
    if not isinstance(name, str):
        raise UserError(f'{where}.name: should be a prior\'s name or "auto", got {name!r}')
    if name != AUTO:
        priors.get(name, where=where)
    check(TrainingConfig, table.get("training", {}), where=f"{where}.training")
    for prior in table.keys() & priors.names():
        cls = priors.get(prior)
        options: dict[str, Any] = {}
        for layer, layer_at in (*below, (table, where)):
            place = f"{layer_at}.{prior}"
            options = merge(options, cls.with_size(layer.get(prior, {}), where=place))
        check(cls, options, where=place)


def named(layers: Sequence[Layer]) -> tuple[str, str]:
    """The `name` in the last layer that has one ("auto" without any), and that layer's place."""
    for table, where in reversed(layers):
        if "name" in table:
            return str(table["name"]), where
    return AUTO, layers[0][1] if layers else ""


def configure(layers: Sequence[Layer], spec: LatentSpec) -> PriorConfig:
    """The prior for these latents; a later layer's options win, and in a layer those of this prior over those of all.

    A layer's `training.steps` replaces a budget in FLOPs of an earlier layer. Raises UserError for a prior that can't
    model the latents (with these options), and for options that contradict each other.
    """
    name, named_at = named(layers)
    cls = priors.get(choose(spec, where=named_at) if name == AUTO else name, where=named_at)
    options: dict[str, Any] = {"training": asdict(cls().training)}
    where = named_at
    for table, where in layers:
        own = cls.with_size(table.get(cls.kind, {}), where=f"{where}.{cls.kind}")
        options = merge(options, merge({"training": table.get("training", {})}, own))
    return resolve_prior(cls.kind, options, spec, where=f"{where}.{cls.kind}", named_at=named_at)


def check_axes(axes: Iterable[str], prior: PriorConfig, where: str) -> None:
    """Raises UserError for an axis of another prior's options: its cells would differ in nothing but their name."""
    for axis in axes:
        _, _, rest = axis.partition(".")
        head = rest.partition(".")[0]
        if head in priors.names() and head != prior.kind:
            raise UserError(f"{where}: {axis} has no effect: the prior of these latents is {prior.kind!r}")


def check_classes(prior: PriorConfig, data: DataConfig, layers: Sequence[Layer]) -> None:
    """Raises UserError where the prior's `classes` are not the data's: no labels, or another number of them.

    Where only the data itself can tell, its labels are checked when the prior is trained.
    """
    classes = getattr(prior, "classes", 0)
    labels = class_count(data) if classes else None
    if labels is None or labels == classes:
        return
    places = (where for table, where in reversed(layers) if "classes" in table.get(prior.kind, {}))
    where = next(places, layers[0][1])
    what = f"{data.label} has {labels} classes; take classes = {labels}" if labels else f"{data.label} has no labels"
    if not labels and data.kind == "folder":
        what += " (a folder's classes are its sub-folders, two or more); take classes = 0"
    raise UserError(f"{where}.{prior.kind}: classes is {classes}, and {what}")
