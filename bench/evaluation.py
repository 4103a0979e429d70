"""Any tokenizer as a suite of one entry: what `latentbench eval`, `latentbench check` and `evaluate` run.

Torch-free to import; several evaluations into one folder make one board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..results.errors import UserError, unknown
from ..tokenizers.adapters.config import ADAPTERS, read_adapter
from ..tokenizers.adapters.declaration import Declaration
from ..tokenizers.adapters.describe import describe
from ..tokenizers.options import merge
from ..tokenizers.recipe import load_recipe, recipe_names
from ..tokenizers.spec import Modality
from .datasets import sources
from .labels import path_label
from .suite import apply_set

if TYPE_CHECKING:
    import pandas

SUITE = "eval"
_SIZE, _FRAMES = 256, 17


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """What is to be evaluated on what.

    `tokenizer` is ADAPTER:PATH, or a recipe's name; `data` a folder, a source's name, or a table as in a suite; `size`
    pixels a side (or [height, width]), `seconds` of sound and `frames` of a clip, where the tokenizer's own geometry
    does not say. `sets` are changes like `--set`: those of `tokenizer.` are the adapter's options. `spec` is a table
    or a TOML file.
    """

    tokenizer: str | Mapping[str, Any]
    data: str | Mapping[str, Any] = "procedural"
    modality: str | None = None
    size: int | list[int] | None = None
    seconds: float | None = None
    frames: int | None = None
    sets: Sequence[str] = ()
    spec: str | Mapping[str, Any] | None = None
    label: str = ""
    allow_download: bool = False
    trust_pickle: bool = False
    tasks: Sequence[str] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def eval_suite(request: EvalRequest, *, name: str = SUITE) -> dict[str, Any]:
    """The suite of one tokenizer. Raises UserError for what is not there or does not fit."""
    own = [change.removeprefix("tokenizer.") for change in request.sets if change.startswith("tokenizer.")]
    rest = [change for change in request.sets if not change.startswith("tokenizer.")]
    entry = _entry(request)
    for change in own:
        apply_set(entry, change)
    if "adapter" in entry:
        options = {key: value for key, value in entry.items() if key not in ("adapter", "label", "prior", "grid")}
        where = str(request.tokenizer) if isinstance(request.tokenizer, str) else entry["adapter"]
        adapter = read_adapter(entry["adapter"], options, where).located(where)
        declaration = describe(adapter, None, where).declaration
        assert declaration is not None
    else:
        modalities = load_recipe(entry["recipe"]).modalities
        declaration = Declaration(modalities=modalities)
    entry["label"] = request.label or " ".join([_label(entry), *(change for change in own if "label" not in change)])
    suite: dict[str, Any] = {"name": name, "data": _data(request, declaration), "tokenizers": [entry]}
    if request.tasks is not None:
        suite["tasks"] = list(request.tasks)
    suite = merge(suite, request.changes)
    for change in rest:
        apply_set(suite, change)
    return suite


def _entry(request: EvalRequest) -> dict[str, Any]:
    if isinstance(request.tokenizer, Mapping):
        return dict(request.tokenizer)
    kind, colon, path = request.tokenizer.partition(":")
    if not colon and (kind in recipe_names() or kind.endswith(".toml")):
        return {"recipe": kind}
    if kind == "recipe":
        return {"recipe": path}
    if not colon or kind not in ADAPTERS:
        if colon or not ("/" in kind or Path(kind).exists()):
            raise unknown("adapter or recipe", kind, [*ADAPTERS.names(), *recipe_names()])
        raise UserError(f"{request.tokenizer}: by which door? write ADAPTER:PATH, as in diffusers:{request.tokenizer}")
    entry: dict[str, Any] = {"adapter": kind, "path": path}
    if request.spec is not None:
        entry["spec"] = request.spec if isinstance(request.spec, str) else dict(request.spec)
    for name in ("allow_download", "trust_pickle"):
        if getattr(request, name):
            entry[name] = True
    return entry


def _label(entry: Mapping[str, Any]) -> str:
    if "recipe" in entry:
        return str(Path(entry["recipe"]).stem if entry["recipe"].endswith(".toml") else entry["recipe"])
    return path_label(entry["path"]) if "path" in entry else str(entry.get("name", entry["adapter"]))


def _data(request: EvalRequest, declaration: Declaration) -> dict[str, Any]:
    """The data set, in the geometry that the tokenizer declares."""
    known = [str(modality) for modality in declaration.modalities]
    modality = Modality(request.modality) if request.modality in known else declaration.modalities[0]
    if request.modality is not None and request.modality not in known:
        raise UserError(f"--modality {request.modality}: it is for {', '.join(known)}")
    table: dict[str, Any] = {"modality": modality.value}
    if isinstance(request.data, Mapping):
        table |= request.data
    elif Path(request.data).expanduser().is_dir():
        table |= {"source": "folder", "path": request.data}
    elif request.data.partition(":")[0] in sources:
        table["source"] = request.data
    else:
        known_sources = ", ".join(sources.names())
        raise UserError(f"--data {request.data}: no such folder, and no source of data (known: {known_sources})")
    if declaration.channels is not None:
        table.setdefault("channels", declaration.channels)
    if modality.is_audio:
        if declaration.rate is not None:
            table.setdefault("sample_rate", round(declaration.rate))
        return table | ({"seconds": float(request.seconds)} if request.seconds is not None else {})
    multiple = declaration.multiples(modality)[-1]
    default = max(multiple, _SIZE - _SIZE % multiple)
    table.setdefault("size", default if request.size is None else request.size)
    if modality is Modality.VIDEO:
        frames = max(declaration.nearest_frames(_FRAMES)) if request.frames is None else request.frames
        table.setdefault("frames", frames)
    return table


def evaluate(
    tokenizer: Any,
    *,
    data: str | Mapping[str, Any] = "procedural",
    out: str | Path | None = None,
    devices: str = "auto",
    engine: str | None = None,
    imports: Sequence[str] = (),
    **options: Any,
) -> pandas.DataFrame:
    """Evaluate one tokenizer, and return its rows; records go to `out` (`runs/eval`), which collects a board.

    `tokenizer` is text as for `latentbench eval` (ADAPTER:PATH, or a recipe's name), or an object with `encode` and
    `decode`, such as an `nn.Module`, whose jobs run in this process. `spec` says what an object does not say of itself:
    `{"modality": "image", "range": [0, 1]}` (see docs/adapters.md). Further options are those of `EvalRequest`;
    `changes` is laid over the suite: `{"prior": {"training": {"steps": 1000}}}`. Raises UserError for what can be
    mended.
    """
    from ..results.rows import frame, rows
    from .runner import run_suite

    named = tokenizer
    if not isinstance(tokenizer, str):
        from ..tokenizers.adapters.config import read_spec
        from ..tokenizers.adapters.live import register

        spec = options.pop("spec", None) or {}
        config = register(tokenizer, read_spec(spec, "spec") if isinstance(spec, str) else spec)
        named = {"adapter": config.kind, "name": config.name, "digest": config.digest, "spec": config.spec}
        engine = engine or "inline"
    suite = eval_suite(EvalRequest(tokenizer=named, data=data, **options))
    outcome = run_suite(
        suite,
        out=out if out is not None else Path("runs") / SUITE,
        engine=engine or "local",
        devices=devices,
        imports=imports,
        extend=True,
    )
    own = {planned.cell.name for planned in outcome.cells}
    return frame([row for row in rows([outcome.root]) if row["suite"] == SUITE and row["cell"] in own])
