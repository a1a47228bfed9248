"""The plan of the house as tests: imports go down, the ground floor is light, and habits that a parser can check."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

import genre_ray

PACKAGE = Path(genre_ray.__file__).parent
TESTS = Path(__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    (),  # the ground floor: every module that is not named below; neither Ray nor torch
    ("preprocessing",),
    ("connection", "data", "gauges"),
    ("models",),
    (
        "augment", "batches", "checkpoint", "device", "fitted", "inference", "optimisation", "report",
        "scoring", "streamed", "tensors", "trainer_state", "training",
    ),
    ("experiment",),
    ("cluster", "evaluate", "predict", "rescore", "serve", "tune"),
    ("__main__", "cli", "doctor"),
)  # fmt: skip
"""From the ground up. A module may import from its own floor and those below."""

MAY_IMPORT_RAY = (
    "connection", "gauges", "data.", "evaluate", "predict", "rescore", "serve.", "tune.", "cluster.", "doctor",
)  # fmt: skip
MAY_IMPORT_TORCH = ("models.", "serve.", "tune.", "doctor", *FLOORS[4])
NAMES_WITHOUT_A_NOUN = {"utils", "util", "helpers", "helper", "common", "base", "constants", "misc", "tools", "stuff"}
LONGEST_FILE = 360
LONGEST_FUNCTION = 60


@dataclass(frozen=True)
class Module:
    """A source file: its name below the package ("" for the package itself) and its syntax tree."""

    name: str
    path: Path

    @cached_property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def floor(self) -> int:
        top = self.name.split(".")[0]
        return next((i for i, names in enumerate(FLOORS) if top in names), 0)

    @cache  # noqa: B019 - modules live as long as the tests
    def imports(self, *, at_import: bool = False) -> frozenset[str]:
        """Dotted names of all that is imported; `at_import` leaves out what only functions and type checkers import."""
        return frozenset(name for node in self._import_nodes(self.tree, at_import) for name in _names(node))

    def _import_nodes(self, tree: ast.AST, at_import: bool) -> Iterator[ast.Import | ast.ImportFrom]:
        for node in ast.iter_child_nodes(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield node
            elif not (at_import and _waits(node)):
                yield from self._import_nodes(node, at_import)


def _waits(node: ast.AST) -> bool:
    """Whether what is inside is not run on import: a function's body, or what only a type checker sees."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _names(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    else:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(path: Path) -> Module:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return Module(".".join(part for part in parts if part != "__init__"), path)


MODULES = {module.name: module for module in map(_module, sorted(PACKAGE.rglob("*.py")))}
every_module = pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name or "genre_ray")


def inside(name: str) -> str | None:
    """The module of this package that an imported dotted name means, None for other packages."""
    if name != "genre_ray" and not name.startswith("genre_ray."):
        return None
    tail = name.removeprefix("genre_ray").removeprefix(".")
    while tail and tail not in MODULES:
        tail = tail.rpartition(".")[0]
    return tail


def is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def matches(name: str, allowed: tuple[str, ...]) -> bool:
    """`data.` allows a package and all in it, `evaluate` one module or package of that name."""
    return any(is_of(name, entry.rstrip(".")) for entry in allowed)


def paths_to(package: str, module: Module) -> list[str]:
    """The chain of imports by which importing `module` imports `package`; empty when it does not."""
    seen: dict[str, list[str]] = {module.name: [module.name]}
    queue = [module.name]
    while queue:
        name = queue.pop()
        for imported in MODULES[name].imports(at_import=True):
            if is_of(imported, package):
                return [*seen[name], package]
            target = inside(imported)
            # Importing a module imports the packages around it as well.
            for step in _with_parents(target) if target is not None else ():
                if step not in seen:
                    seen[step] = [*seen[name], step]
                    queue.append(step)
    return []


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


@every_module
def test_imports_go_down_the_floors(module: Module) -> None:
    upward = {
        name
        for name in module.imports()
        if (target := inside(name)) is not None and target and MODULES[target].floor > module.floor
    }
    assert not upward, f"{module.name or 'genre_ray'} (floor {module.floor}) imports from above: {sorted(upward)}"


@every_module
def test_tune_and_serve_never_import_each_other(module: Module) -> None:
    other = {"tune": "serve", "serve": "tune"}.get(module.name.split(".")[0])
    assert other is None or not [name for name in module.imports() if is_of(name, f"genre_ray.{other}")]


@every_module
def test_ray_is_imported_only_by_the_modules_that_run_on_it(module: Module) -> None:
    if not matches(module.name, MAY_IMPORT_RAY):
        assert not [name for name in module.imports() if is_of(name, "ray")]


@every_module
def test_torch_is_imported_only_by_models_and_what_fits_and_asks_them(module: Module) -> None:
    if not matches(module.name, MAY_IMPORT_TORCH):
        assert not [name for name in module.imports() if is_of(name, "torch")]


LIGHT = [m for m in MODULES.values() if m.floor <= 1 or is_of(m.name, "report") or is_of(m.name, "cli")]


@pytest.mark.parametrize("module", LIGHT, ids=lambda module: module.name or "genre_ray")
@pytest.mark.parametrize("package", ["ray", "torch"])
def test_importing_the_ground_floor_imports_neither_ray_nor_torch(module: Module, package: str) -> None:
    assert not paths_to(package, module), " -> ".join(paths_to(package, module))


def test_the_running_interpreter_agrees_that_the_ground_floor_is_light() -> None:
    """As above, but by importing: a third package could bring Ray or torch along."""
    names = [f"genre_ray.{module.name}" for module in LIGHT if module.name not in ("", "__main__")]
    code = f"import importlib, sys; [importlib.import_module(name) for name in {names}]; "
    code += "print([name for name in ('ray', 'torch', 'optuna') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from genre_ray.cli.command import parser; parser().format_help(); "
    code += "print([name for name in ('numpy', 'pydantic', 'ray', 'torch') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@every_module
def test_imports_are_absolute_and_rays_own_tune_and_serve_keep_their_name(module: Module) -> None:
    nodes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom)]
    assert not [ast.unparse(node) for node in nodes if node.level]
    names = {name for node in nodes for name in _names(node)}
    assert not {name for name in ("tune", "serve", "data") if {f"ray.{name}", f"genre_ray.{name}"} <= names}


@every_module
def test_every_file_is_named_after_a_noun(module: Module) -> None:
    assert not NAMES_WITHOUT_A_NOUN & set(module.name.split("."))


@every_module
def test_the_first_line_says_what_the_module_is(module: Module) -> None:
    if module.tree.body:
        header = ast.get_docstring(module.tree)
        assert header, f"{module.path} has no docstring"
        assert module.source.startswith('"""'), "the docstring is the first line"


@every_module
def test_files_and_functions_are_short(module: Module) -> None:
    assert len(module.source.splitlines()) <= LONGEST_FILE
    if "Written by `benchmarks/" in (ast.get_docstring(module.tree) or ""):
        return  # generated code is as long as it is
    functions = [node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: _body_lines(node) for node in functions if _body_lines(node) > LONGEST_FUNCTION}
    assert not long


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the statements after the docstring; a table written out in full counts as one."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    tables = [s for s in body if isinstance(getattr(s, "value", None), ast.Dict | ast.List | ast.Tuple)]
    return sum(1 if s in tables else (s.end_lineno or 0) - s.lineno + 1 for s in body)


@every_module
def test_nothing_happens_at_import(module: Module) -> None:
    """No I/O, no environment, no set-up of logging, Ray or a device at module level."""
    forbidden = ("os.environ", "os.getenv", "open(", ".read_text(", ".read_bytes(", "basicConfig(", "ray.init(")
    forbidden += ("torch.cuda", "manual_seed(", "random.seed(", "print(", "mkdir(")
    for statement in module.tree.body:
        if isinstance(statement, ast.Expr):
            assert isinstance(statement.value, ast.Constant), f"line {statement.lineno}: {ast.unparse(statement)}"
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            text = ast.unparse(statement.value)
            lazy = any(isinstance(node, ast.Lambda) for node in ast.walk(statement.value))
            assert lazy or not [word for word in forbidden if word in text], f"line {statement.lineno}: {text}"


@every_module
def test_no_exception_is_swallowed(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            silent = all(isinstance(inner, ast.Pass) for inner in node.body)
            broad = ast.unparse(node.type) in ("Exception", "BaseException")
            assert not (silent and broad), f"line {node.lineno}: {ast.unparse(node)}"


@every_module
def test_no_artefact_is_pickled_and_no_global_generator_is_seeded(module: Module) -> None:
    picklers = {name.split(".")[0] for name in module.imports()} & {"pickle", "cloudpickle", "joblib", "dill", "shelve"}
    # Between our own processes, as Ray itself does it; nothing of it is kept.
    assert not picklers or module.name == "data.execution"
    calls = {ast.unparse(node.func) for node in ast.walk(module.tree) if isinstance(node, ast.Call)}
    assert not calls & {"np.random.seed", "numpy.random.seed", "random.seed", "torch.use_deterministic_algorithms"}


@every_module
def test_nothing_is_left_to_do(module: Module) -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    assert not [mark for mark in marks if mark in module.source]


@pytest.mark.parametrize("name", [name for name in MODULES if is_of(name, "serve")])
def test_annotations_of_the_service_are_real_types(name: str) -> None:
    """With `from __future__ import annotations`, Ray 2.60 skips validating `app(args: ServeArgs)`."""
    assert "__future__.annotations" not in MODULES[name].imports()


def _test_functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield path, node


def _asserting_names() -> set[str]:
    """Functions of the tests that assert, directly or by way of one another."""
    functions = {
        node.name: node
        for path in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found: set[str] = set()
    while grown := {name for name, node in functions.items() if name not in found and _asserts(node, found)}:
        found |= grown
    return found


def _asserts(node: ast.AST, helpers: set[str]) -> bool:
    if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
        return True
    calls = [ast.unparse(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    names = {call.rsplit(".", 1)[-1] for call in calls}
    return bool(names & {"raises", "warns", "fail", *helpers}) or any(name.startswith("assert_") for name in names)


def test_every_test_can_fail() -> None:
    """An assert or a `pytest.raises`, here or in a helper; and no xfail that hides a failure."""
    helpers = _asserting_names()
    idle = [f"{p.relative_to(TESTS)}::{node.name}" for p, node in _test_functions() if not _asserts(node, helpers)]
    assert not idle
    marks = [ast.unparse(mark) for _, node in _test_functions() for mark in node.decorator_list]
    assert not [mark for mark in marks if mark.startswith("pytest.mark.xfail")]


def test_no_two_tests_of_a_file_share_a_name() -> None:
    """The second would hide the first."""
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        assert len(names) == len(set(names)), path
