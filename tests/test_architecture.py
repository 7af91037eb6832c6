"""The shape of the code: who may import whom, how long a file is, what it is called and what it drags in."""

from __future__ import annotations

import ast
import functools
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RANK = {"app": 3, "studio": 2, "retrieval": 1, "watermark": 1, "pipelines": 0}
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
MAX_LINES = 500
MAX_MEDIAN_LINES = 150
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "peft", "gradio", "numpy", "PIL", "pandas")
LIGHT_MODULES = ("pipelines.errors", "pipelines.request", "pipelines.plan", "pipelines.method", "pipelines.registry")
LIGHT_MODULES += ("pipelines.prompt_syntax", "studio.record", "studio.settings_form", "studio.library")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files() -> list[Path]:
    return [ROOT / "app.py", *sorted(path for top in RANK if top != "app" for path in (ROOT / top).rglob("*.py"))]


MODULES = {module_name(path): path for path in source_files()}
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))


@functools.cache
def imports(module: str) -> tuple[tuple[str, int], ...]:
    """(name, line) of all that `module` imports when it runs, inside functions too; not what is for type checkers."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return tuple(_imports(ast.parse(path.read_text(encoding="utf-8")), package))


def _imports(node: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
            source = ".".join([*above, *([child.module] if child.module else [])])
            for alias in child.names:
                full = f"{source}.{alias.name}"
                yield (full if full in MODULES else source), child.lineno
        else:
            yield from _imports(child, package)


def top(name: str) -> str:
    return name.partition(".")[0]


def test_the_reader_of_imports_sees_all_that_run():
    code = """
import os, pipelines.errors as e
from . import record
from ..pipelines import request
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def late():
    from pipelines import plan
    class Inner:
        import app
"""
    names = [name for name, _ in _imports(ast.parse(code), "studio.cli")]
    assert names == ["os", "pipelines.errors", "studio.cli", "studio.pipelines", "typing", "pipelines.plan", "app"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    upward = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for name, line in imports(module)
        if top(name) in RANK and top(name) != top(module) and RANK[top(name)] >= RANK[top(module)]
    ]
    assert not upward


def test_no_import_cycles():
    graph = {module: {name for name, _ in imports(module) if name in MODULES and name != module} for module in MODULES}
    while leaves := [module for module, targets in graph.items() if not targets & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    entered = {target for targets in graph.values() for target in targets}
    assert not {module: sorted(targets & graph.keys()) for module, targets in graph.items() if module in entered}


@pytest.mark.parametrize("path", [*MODULES.values(), *TEST_FILES], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_well_named_and_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    names = {
        path.stem,
        *(folder.name for folder in path.relative_to(ROOT).parents if (ROOT / folder / "__init__.py").is_file()),
    }
    assert not names & FORBIDDEN_NAMES
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert docstring.partition("\n\n")[0].rstrip().endswith((".", ":", "?", "!"))


def test_most_files_are_read_in_one_go():
    lengths = [
        len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values() if path.name != "__init__.py"
    ]
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES


@pytest.mark.parametrize("module", MODULES)
def test_nothing_needs_torchvision_or_pickle(module):
    # A CPU torch beside a CUDA torchvision breaks at import; a pickle runs code when it is opened.
    assert not {"torchvision", "pickle", "dill", "joblib"} & {top(name) for name, _ in imports(module)}


@pytest.mark.parametrize("module", MODULES)
def test_torch_load_reads_weights_only(module):
    calls = [node for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert all("weights_only=True" in [ast.unparse(word) for word in call.keywords] for call in loads)


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_packages_and_light_modules_import_nothing_heavy():
    packages = [module for module, path in MODULES.items() if path.name == "__init__.py"]
    methods = [module for module in MODULES if module.startswith("pipelines.methods.")]
    names = sorted({*packages, *methods, *LIGHT_MODULES} & MODULES.keys())
    loaded = run_python(
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert loaded == "[]"


def test_help_is_quick_and_imports_nothing_heavy():
    result = run_python(
        "import sys, time\nfrom studio.cli.application import build\n"
        "try: build()(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(heavy, time.process_time() < 1.0)"
    )
    assert result == "[] True"
