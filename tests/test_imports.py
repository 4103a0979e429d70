"""Who may import whom: one way between the packages, relative inside them, and no torch where planning happens."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
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
    "results.report.build",
    "tasks.metrics",
    "tasks.nets",
    "tasks.priors.config",
    "tasks.proxies",
    "tokenizers.config",
    "tokenizers.recipe",
)


def sources() -> list[tuple[str, Path]]:
    """Every module of ours with its name behind `latentbench.`; a package has its folder's name."""
    modules = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            modules.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return modules


SOURCES = dict(sources())


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


@cache
def statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Every import statement of a file, in functions too."""
    imports_: list[ast.Import | ast.ImportFrom] = []
    blocks: list[ast.AST] = [ast.parse(path.read_text())]
    while blocks:  # statements stand in lists alone: expressions need not be looked through
        for name, value in ast.iter_fields(blocks.pop()):
            if name in _BLOCKS:
                imports_ += [node for node in value if isinstance(node, ast.Import | ast.ImportFrom)]
                blocks += value
    return imports_


@cache
def imports(module: str, path: Path) -> list[tuple[str, int]]:
    """Names of ours that a module imports, behind `latentbench.`, with the line."""
    return list(_imports(module, path))


def _imports(module: str, path: Path) -> Iterator[tuple[str, int]]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in statements(path):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = resolve_name("." * node.level + (node.module or ""), f"latentbench.{package}")
        base = base.removeprefix("latentbench").lstrip(".")
        for alias in node.names:
            full = f"{base}.{alias.name}".lstrip(".")
            yield (full if full in SOURCES else base), node.lineno


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 80
    assert {name.split(".")[0] for name in SOURCES} == set(PACKAGES)
    assert "tasks.priors.config" in dict(imports("bench.planned_cell", SOURCES["bench.planned_cell"]))


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
    wrong, bare = [], {"latentbench", *SOURCES} - {"tokenizers"}
    for path in SOURCES.values():
        for node in statements(path):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong += [
                f"{path.relative_to(ROOT)} imports {name}"
                for name in names
                if name.split(".")[0] == "latentbench" or name in bare
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


def import_graph() -> dict[str, set[str]]:
    """Who imports whom among our modules, in functions and for type checkers too."""
    return {module: {n for n, _ in imports(module, path)} - {module} for module, path in SOURCES.items()}


def test_circles_are_found() -> None:
    graph = {"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": ["e"], "e": [], "f": ["g"], "g": ["f", "a"]}
    assert circles(graph) == [["a", "b", "c"], ["f", "g"]]


def test_no_circles() -> None:
    """Not as modules are imported, and not by imports in functions or for type checkers either."""
    assert circles(import_graph()) == []


def test_neither_planning_s_modules_nor_a_plan_need_torch() -> None:
    """One process imports the modules one by one, makes a plan, and names the first that brings torch."""
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module('latentbench.{name}')\nassert 'torch' not in sys.modules, {name!r}\n"
        for name in TORCH_FREE
    )
    code += "from latentbench.bench.cli import main\nassert main(['plan', 'quickstart']) == 0\n"
    code += "assert 'torch' not in sys.modules, 'a plan'"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
