"""Who may import whom: one way between the packages, relative inside them, and no torch where planning happens."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("results", "tokenizers", "tasks", "bench")

# What each package may import of ours: whole packages, or for `tokenizers` the shared vocabulary alone.
ALLOWED = {
    "results": ("results",),
    "tokenizers": ("tokenizers", "results.errors", "results.metric"),
    "tasks": ("tasks", "tokenizers", "results"),
    "bench": ("bench", "tasks", "tokenizers", "results"),
}

TORCH_FREE = (
    "bench.cli",
    "bench.doctor",
    "bench.grid",
    "bench.catalogue",
    "bench.plan",
    "bench.prior_options",
    "bench.runner",
    "bench.suite",
    "bench.engines.local",
    "results.gallery",
    "results.leaderboard",
    "results.plot",
    "tasks.metrics",
    "tasks.nets",
    "tasks.priors.config",
    "tasks.proxies",
    "tokenizers.config",
    "tokenizers.recipe",
)


# Imports in functions and for type checkers that close a circle today, by the importing module. Each goes when a
# configuration names what it builds (`Part.builds`) instead of importing it; nothing may be added.
STILL_CIRCULAR = {
    "tasks.nets.config": {
        "tasks.nets.i3d",
        "tasks.nets.inception",
        "tasks.nets.mobilenet_v2",
        "tasks.nets.musicnn",
        "tasks.nets.yamnet",
    },
    "tasks.priors.cascade_config": {"tasks.priors.cascade"},
    "tasks.priors.config": {"tasks.priors.ar", "tasks.priors.flow"},
    "tasks.priors.diffusion_config": {"tasks.priors.diffusion", "tasks.priors.dilated", "tasks.priors.unet"},
    "tasks.priors.discrete_config": {"tasks.priors.hierarchical", "tasks.priors.maskgit", "tasks.priors.pixelcnn"},
    "tasks.priors.set_config": {"tasks.priors.set_ar", "tasks.priors.set_flow"},
    "tasks.priors.token_config": {"tasks.priors.givt", "tasks.priors.mar"},
    "tasks.priors.wavenet_config": {"tasks.priors.wavenet"},
    "tokenizers.backbones.config": {"tokenizers.backbones.conv"},
    "tokenizers.backbones.vit_config": {"tokenizers.backbones.vit"},
    "tokenizers.bottlenecks.config": {"tokenizers.bottlenecks.kl", "tokenizers.bottlenecks.linear"},
    "tokenizers.bottlenecks.quantiser_config": {
        "tokenizers.bottlenecks.fsq",
        "tokenizers.bottlenecks.lfq",
        "tokenizers.bottlenecks.rvq",
        "tokenizers.bottlenecks.vq",
        "tokenizers.bottlenecks.vq_reg",
        "tokenizers.bottlenecks.vq_vae_2",
    },
    "tokenizers.codecs.config": {
        "tokenizers.codecs.dct",
        "tokenizers.codecs.h264",
        "tokenizers.codecs.jpeg",
        "tokenizers.codecs.opus",
    },
    "tokenizers.diffusion_decoders.config": {"tokenizers.diffusion_decoders.diffusion"},
    "tokenizers.regularisers.adversary_config": {"tokenizers.regularisers.adversary"},
    "tokenizers.regularisers.auxiliary_config": {"tokenizers.regularisers.auxiliary_decoder"},
    "tokenizers.regularisers.base": {"tokenizers.composed"},
    "tokenizers.regularisers.config": {"tokenizers.config", "tokenizers.regularisers.base"},
    "tokenizers.regularisers.curation_config": {
        "tokenizers.regularisers.alignment",
        "tokenizers.regularisers.equivariance",
        "tokenizers.regularisers.prior_in_the_loop",
        "tokenizers.regularisers.self_supervised",
    },
    "tokenizers.regularisers.nested_config": {"tokenizers.regularisers.nested_dropout"},
    "tokenizers.regularisers.resolution_config": {"tokenizers.regularisers.resolution_dropout"},
    "tokenizers.sequence_coding.adaptive_config": {
        "tokenizers.sequence_coding.prefix",
        "tokenizers.sequence_coding.resolution",
    },
    "tokenizers.sequence_coding.base": {"tokenizers.composed"},
    "tokenizers.sequence_coding.config": {
        "tokenizers.config",
        "tokenizers.sequence_coding.base",
        "tokenizers.sequence_coding.bpe",
        "tokenizers.sequence_coding.entropy",
        "tokenizers.sequence_coding.run_length",
    },
    "tokenizers.sequence_coding.run_length": {"tokenizers.composed"},
}


def sources() -> list[tuple[str, Path]]:
    """Every module of ours with its name behind `latentbench.`; a package has its folder's name."""
    modules = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return modules


SOURCES = dict(sources())


def imports(module: str, path: Path, *, top: bool = False) -> Iterator[tuple[str, int]]:
    """Names of ours that a module imports, behind `latentbench.`, with the line; `top`: only as it is imported."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _at_import(ast.parse(path.read_text())) if top else ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = resolve_name("." * node.level + (node.module or ""), f"latentbench.{package}")
        base = base.removeprefix("latentbench").lstrip(".")
        for alias in node.names:
            full = f"{base}.{alias.name}".lstrip(".")
            yield (full if full in SOURCES else base), node.lineno


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not those in functions or under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _at_import(node)


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 80
    assert {name.split(".")[0] for name in SOURCES} == set(PACKAGES)
    assert "tasks.priors.config" in dict(imports("bench.plan", SOURCES["bench.plan"]))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for module, path in SOURCES.items()
        if module.split(".")[0] == package
        for name, line in imports(module, path)
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[package])
    ]
    assert wrong == []


def test_our_own_modules_are_imported_relatively() -> None:
    """A bare `tokenizers` is Hugging Face's package: ours is never found by that name."""
    wrong = []
    for path in SOURCES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong += [
                f"{path.relative_to(ROOT)} imports {name}"
                for name in names
                if name.split(".")[0] == "latentbench" or name in SOURCES.keys() - {"tokenizers"}
            ]
    assert wrong == []


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The groups of modules that import one another, directly or through others (Tarjan's components), sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_modules: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        open_modules.append(module)
        for name in graph.get(module, ()):
            if name not in index:
                visit(name)
                low[module] = min(low[module], low[name])
            elif name in open_modules:
                low[module] = min(low[module], index[name])
        if low[module] == index[module]:
            at = open_modules.index(module)
            group = open_modules[at:]
            del open_modules[at:]
            if len(group) > 1:
                groups.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return sorted(groups)


def import_graph(*, top: bool) -> dict[str, set[str]]:
    """Who imports whom among our modules; `top`: as they are imported, else in functions and for type checkers too."""
    return {module: {n for n, _ in imports(module, path, top=top)} - {module} for module, path in SOURCES.items()}


def test_circles_are_found() -> None:
    graph = {"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": ["e"], "e": [], "f": ["g"], "g": ["f", "a"]}
    assert circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_no_circles() -> None:
    assert circles(import_graph(top=True)) == []


def test_no_circles_at_all() -> None:
    """Not by imports in functions or for type checkers either, but for those that are still to be taken apart."""
    graph = import_graph(top=False)
    assert circles({module: names - STILL_CIRCULAR.get(module, set()) for module, names in graph.items()}) == []


def test_planning_needs_no_torch() -> None:
    """One process imports the modules one by one and names the first that brings torch."""
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module('latentbench.{name}')\nassert 'torch' not in sys.modules, {name!r}\n"
        for name in TORCH_FREE
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_plan_needs_no_torch() -> None:
    """Not only the imports: making a plan must not load torch either."""
    code = (
        "import sys\n"
        "from latentbench.bench.cli import main\n"
        "assert main(['plan', 'quickstart']) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
