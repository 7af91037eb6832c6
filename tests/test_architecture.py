"""The shape of the code: who may import whom, how long a file is, what it is called and what it drags in."""

from __future__ import annotations

import ast
import functools
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"studio": 2, "retrieval": 1, "watermark": 1, "pipelines": 0}  # at the top; imported as lora_loom.NAME
RANK = {"app": 4, "lora_loom": 3, **FOLDERS}

# Floors inside studio/, the lowest first: a module imports from lower floors and from its own, never from a higher one.
FLOORS = (
    (
        "versions",
        "liveness",
        "templates",
        "words",
        "sidecars",
        "results",
        "settings_form",
        "records",
        "pocket",
    ),
    ("library", "hooks", "session", "jobs", "forecast"),
    ("batch",),
    ("evaluation",),
    ("testbed", "builders"),
    ("bench", "cli", "ui"),
)
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
MAX_LINES = 400
MAX_MEDIAN_LINES = 150
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "peft", "gradio", "numpy", "PIL", "pandas")
LIGHT_MODULES = tuple(
    f"lora_loom.{name}"
    for name in (
        "pipelines.adapter_choice",
        "pipelines.errors",
        "pipelines.method",
        "pipelines.plan",
        "pipelines.requests.prompt_syntax",
        "pipelines.registry",
        "pipelines.request",
        "pipelines.requests.fields",
        "studio.records.extensions",
        "studio.library.adapter_library",
        "studio.library.search",
        "studio.records.record",
        "studio.records.a1111",
        "studio.settings_form",
    )
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(("lora_loom", *parts) if parts[0] in FOLDERS else parts)


def source_files() -> list[Path]:
    folders = ("lora_loom", *FOLDERS)
    return [ROOT / "app.py", *sorted(path for each in folders for path in (ROOT / each).rglob("*.py"))]


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
    """The folder at the top of the repository that a module lies in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "lora_loom" and parts[1:] and parts[1] in FOLDERS else parts[0]


def test_the_reader_of_imports_sees_all_that_run():
    code = """
import os, lora_loom.pipelines.errors as e
from . import record
from ..pipelines import request
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
def late():
    from lora_loom.pipelines import plan
    class Inner:
        import app
"""
    names = [name for name, _ in _imports(ast.parse(code), "lora_loom.studio.cli")]
    assert names == [
        "os",
        "lora_loom.pipelines.errors",
        "lora_loom.studio.cli",
        "lora_loom.studio.pipelines",
        "typing",
        "lora_loom.pipelines.plan",
        "app",
    ]


def test_imports_go_down():
    upward = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module in MODULES
        for name, line in imports(module)
        if top(name) in RANK and top(name) != top(module) and RANK[top(name)] >= RANK[top(module)]
    ]
    assert not upward


def test_imports_inside_the_studio_go_down():
    floor = {name: height for height, names in enumerate(FLOORS) for name in names}
    inside = [module for module in MODULES if module.startswith("lora_loom.studio.")]
    assert {module.split(".")[2] for module in inside} == set(floor)
    assert not [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module in inside
        for name, line in imports(module)
        if name.startswith("lora_loom.studio.") and floor[name.split(".")[2]] > floor[module.split(".")[2]]
    ]


def test_no_import_cycles():
    graph = {module: {name for name, _ in imports(module) if name in MODULES and name != module} for module in MODULES}
    while leaves := [module for module, targets in graph.items() if not targets & graph.keys()]:
        for leaf in leaves:
            del graph[leaf]
    entered = {target for targets in graph.values() for target in targets}
    assert not {module: sorted(targets & graph.keys()) for module, targets in graph.items() if module in entered}


def test_no_import_by_the_name_of_the_folder():
    """`import pipelines` finds whatever folder of that name lies beside a notebook: the installed names are ours."""
    bare = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(FOLDERS)})\b", re.MULTILINE)
    sources = [*MODULES.values(), *TEST_FILES, *(ROOT / "examples").rglob("*.py"), *ROOT.glob("*.md")]
    sources += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.ipynb")]
    assert not [str(path.relative_to(ROOT)) for path in sources if bare.search(path.read_text(encoding="utf-8"))]


def faults(path: Path) -> Iterator[str]:
    """What is wrong with the length, the name or the first sentence of a file."""
    text = path.read_text(encoding="utf-8")
    if len(text.splitlines()) > MAX_LINES:
        yield f"has more than {MAX_LINES} lines"
    folders = (folder.name for folder in path.relative_to(ROOT).parents if (ROOT / folder / "__init__.py").is_file())
    if names := {path.stem, *folders} & FORBIDDEN_NAMES:
        yield f"is called {', '.join(names)}"
    if not (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].rstrip().endswith((".", ":", "?", "!")):
        yield "does not say in its first sentence what it is for"


def test_a_file_is_short_well_named_and_says_what_it_is_for():
    assert not [
        f"{path.relative_to(ROOT)} {each}" for path in [*MODULES.values(), *TEST_FILES] for each in faults(path)
    ]


def test_most_files_are_read_in_one_go():
    lengths = [
        len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES.values() if path.name != "__init__.py"
    ]
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES


def test_nothing_needs_torchvision_or_pickle():
    # A CPU torch beside a CUDA torchvision breaks at import; a pickle runs code when it is opened.
    unwanted = {"torchvision", "pickle", "dill", "joblib"}
    assert not [module for module in MODULES if unwanted & {top(name) for name, _ in imports(module)}]


def test_torch_load_reads_weights_only():
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}
    calls = [(module, node) for module, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    loads = [(module, call) for module, call in calls if ast.unparse(call.func) == "torch.load"]
    careless = [each for each in loads if "weights_only=True" not in map(ast.unparse, each[1].keywords)]
    assert loads
    assert not [module for module, _ in careless]


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_packages_and_light_modules_import_nothing_heavy():
    packages = [module for module, path in MODULES.items() if path.name == "__init__.py"]
    methods = [module for module in MODULES if module.startswith("lora_loom.pipelines.methods.")]
    names = sorted({*packages, *methods, *LIGHT_MODULES} & MODULES.keys())
    loaded = run_python(
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert loaded == "[]"


def test_help_imports_little_and_nothing_heavy():
    result = run_python(
        "import sys\nfrom lora_loom.studio.cli.application import build\n"
        "try: build()(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(heavy, len(sys.modules) < 600)"
    )
    assert result == "[] True"
