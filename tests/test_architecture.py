"""The house stands: imports go downward and in no circle, a word has one meaning, functions stay short.

Nothing runs code from a file, and importing the package is free.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import safecompress

ROOT = Path(safecompress.__file__).parent

# From the bottom up. A room imports from rooms on lower floors, never from its own floor's other rooms.
FLOORS = [
    {"errors"},
    {"digests", "progress", "ranges", "registry", "seeding", "storage", "threads"},
    {"metrics", "loggers", "networks", "tables"},
    {"data", "models", "sparsity"},
    {"training", "export", "integrations"},
    {"attacks", "runtime"},
    {"spec"},
    {"certify", "compression"},
    {"config", "report"},
    {"auditing"},
    {"workflows"},
    {"api", "studies"},
    {"cli", "pytest_plugin"},
]
# The floors within a room that holds several, each below the next.
FLOORS_OF_STUDIES = [{"engine", "methods"}, {"comparison", "hyperparameters"}]
# May import anything under cli; no room imports it.
TESTING = "testing"
# The package itself re-exports names of any room, late. Rooms may ask it for this much:
OF_THE_PACKAGE = {"__version__"}

NOT_LOADED_BY_IMPORT = ["torch", "sklearn", "scipy", "numpy", "safetensors", "pydantic", "typer", "rich"]
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUN_CODE = {"eval", "exec", "compile", "__import__"}

MOST_LINES, MOST_PARAMETERS, MOST_TYPES, MOST_METRIC_FILES = 60, 7, 4, 6
# What a user calls, whose keywords are the interface, and readers of data, whose keywords are keys of a spec.
PUBLIC_FUNCTIONS = re.compile(
    r"^(api:(compress|audit)|cli\.verbs\.\w+:\w+|pytest_plugin:safety_spec|sparsity\.training:SparseTraining\.__init__"
    r"|data\.[\w.]+:(adult|digits|location30|cifar10|cifar100|tiny_imagenet|image_folder|ag_news|sst2|yelp5|read_\w+)"
    r"|data\.dataset:Dataset\.from_\w+)$"
)

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(ROOT.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef
Sources = Mapping[str, str]  # modules by dotted name, as text


def room_of(module: Path) -> str:
    """The room that a module lies in; the package's own __init__ has none."""
    first = module.relative_to(ROOT).parts[0]
    return {"__init__.py": "", "__main__.py": "cli"}.get(first, first.removesuffix(".py"))


def dotted(module: Path) -> str:
    """The module's name under safecompress, a package's for its __init__: "training.loop", "training", ""."""
    parts = module.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, str]:
    """All modules of the package by dotted name, as text."""
    return {dotted(module): module.read_text(encoding="utf-8") for module in MODULES}


def imported(tree: ast.AST) -> list[tuple[int, list[str]]]:
    """(line, dotted path) of every import from this package, wherever in the module it stands, for types or not."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports from safecompress in full"
            found += [(node.lineno, f"{node.module}.{name.name}") for name in node.names]
    paths = [(line, name.split(".")) for line, name in found]
    return [(line, path[1:]) for line, path in paths if path[0] == "safecompress"]


def imported_rooms(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, room) of every import from this package."""
    return [(line, path[0] if path else "") for line, path in imported(tree)]


def faults_of_floors(room: str, source: str) -> list[str]:
    """What the imports in ``source``, a module of ``room``, do against the floors."""
    faults = []
    for line, other in imported_rooms(ast.parse(source)):
        if other == room or other in OF_THE_PACKAGE:
            continue
        if other == TESTING:
            faults.append(f"line {line}: {room} imports testing, which is for plug-in authors")
        elif other not in FLOOR_OF:
            faults.append(f"line {line}: {room} imports {other or 'the whole package'!r}, which is on no floor")
        elif room == TESTING:
            if other == "cli":
                faults.append(f"line {line}: testing imports cli")
        elif FLOOR_OF[other] >= FLOOR_OF[room]:
            faults.append(f"line {line}: {room} imports {other}, which is not below it")
    return faults


def import_graph(modules: Sources) -> dict[str, set[str]]:
    """Which modules each module imports from, types and late imports counted; a name of a package is its __init__'s."""
    graph: dict[str, set[str]] = {}
    for name, source in modules.items():
        targets = set()
        for _, path in imported(ast.parse(source)):
            while path and ".".join(path) not in modules:
                path = path[:-1]
            targets.add(".".join(path))
        graph[name] = targets - {name, ""}
    return graph


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of nodes that reach one another, the strongly connected components of more than one (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], order[other])
        if lowest[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def functions_of(source: str) -> list[tuple[str, Function]]:
    """(qualified name, function) of all functions, methods and nested ones too."""

    def inside(node: ast.AST, path: str) -> list[tuple[str, Function]]:
        found = []
        for child in ast.iter_child_nodes(node):
            is_function = isinstance(child, Function)
            own = f"{path}{child.name}" if is_function or isinstance(child, ast.ClassDef) else path
            found += [(own, child)] if is_function else []
            found += inside(child, f"{own}." if own != path else path)
        return found

    return inside(ast.parse(source), "")


def parameters_of(function: Function) -> list[ast.arg]:
    """All parameters but self and cls."""
    arguments = function.args
    named = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    return [argument for argument in named if argument.arg not in ("self", "cls")]


def classes_named_alike(modules: Sources) -> dict[str, list[str]]:
    """Names of classes that more than one place defines."""
    homes = defaultdict(list)
    for name, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name)
    return {name: where for name, where in homes.items() if len(where) > 1}


def overloaded_words(modules: Sources) -> dict[str, list[str]]:
    """Names of parameters that are annotated with more than `MOST_TYPES` types; whether one may be None is no type."""
    types = defaultdict(set)
    for source in modules.values():
        for _, function in functions_of(source):
            for parameter in parameters_of(function):
                if parameter.annotation is not None:
                    types[parameter.arg].add(ast.unparse(parameter.annotation).removesuffix(" | None"))
    return {name: sorted(kinds) for name, kinds in types.items() if len(kinds) > MOST_TYPES}


def oversized_functions(modules: Sources) -> list[str]:
    """Functions of more than `MOST_LINES` lines, or more than `MOST_PARAMETERS` parameters, public ones aside."""
    faults = []
    for name, source in modules.items():
        for path, function in functions_of(source):
            if PUBLIC_FUNCTIONS.match(f"{name}:{path}"):
                continue
            lines = function.end_lineno - function.lineno + 1
            if lines > MOST_LINES:
                faults.append(f"{name}:{path} has {lines} lines")
            if len(parameters_of(function)) > MOST_PARAMETERS and function.name != "__init__":
                faults.append(f"{name}:{path} has {len(parameters_of(function))} parameters")
    return faults


def modules_that_spell(modules: Sources, text: str) -> list[str]:
    """Modules with ``text`` in a string that is no docstring."""
    found = []
    for name, source in modules.items():
        tree = ast.parse(source)
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        if any(text in node.value and id(node) not in bare for node in strings):
            found.append(name)
    return found


def faults_of_safety(source: str) -> list[str]:
    """Uses of what could run code from a file."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        modules = []
        if isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""] + [f"{node.module}.{name.name}" for name in node.names]
        faults += [
            f"line {node.lineno}: imports {name}"
            for name in modules
            if name.split(".")[0] in UNPICKLERS or name in ("torch.load", "numpy.load")
        ]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        is_careless_load = called in ("np.load", "numpy.load") and not any(
            keyword.arg == "allow_pickle" and ast.unparse(keyword.value) == "False" for keyword in node.keywords
        )
        if called in RUN_CODE or called in ("torch.load", "torch.hub.load", "pandas.read_pickle") or is_careless_load:
            faults.append(f"line {node.lineno}: calls {called}")
    return faults


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_floors_import_only_from_below(module):
    room = room_of(module)
    if room == "":
        return
    assert room in FLOOR_OF or room == TESTING, f"{room} is on no floor: give it one in FLOORS"
    assert faults_of_floors(room, module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_run_code_from_a_file(module):
    assert faults_of_safety(module.read_text(encoding="utf-8")) == []


def test_every_floor_that_is_named_exists():
    rooms = {room_of(module) for module in MODULES} - {"", TESTING}
    assert set(FLOOR_OF) == rooms and len(FLOORS) <= 13


def test_the_studies_stand_side_by_side_on_engine_and_methods():
    floor_of = {part: floor for floor, parts in enumerate(FLOORS_OF_STUDIES) for part in parts}
    modules = [module for module in (ROOT / "studies").rglob("*.py") if module.parent != ROOT / "studies"]
    assert {module.parent.name for module in modules} == set(floor_of)
    for module in modules:
        paths = [path for _, path in imported(ast.parse(module.read_text(encoding="utf-8")))]
        own = module.parent.name
        others = {path[1] for path in paths if path[0] == "studies" and len(path) > 1} - {own}
        above = {other for other in others if floor_of[other] >= floor_of[own]}
        assert not above, f"studies/{own}/{module.name} imports {above}, which is not below it"


@pytest.mark.slow
def test_no_modules_import_one_another():
    assert circles(import_graph(sources())) == []


@pytest.mark.slow
def test_no_class_name_is_defined_twice():
    assert classes_named_alike(sources()) == {}


@pytest.mark.slow
def test_one_word_has_few_types():
    assert overloaded_words(sources()) == {}


@pytest.mark.slow
def test_functions_are_short_and_take_few_parameters():
    assert oversized_functions(sources()) == []


@pytest.mark.slow
def test_few_modules_spell_the_name_of_a_metric():
    """What a metric means is said once, in metrics/catalogue.py."""
    assert len(modules_that_spell(sources(), ".auc")) <= MOST_METRIC_FILES


def test_training_is_given_its_attackers():
    """A door that must stay shut: adversarial training takes attackers as arguments and imports none."""
    assert FLOOR_OF["training"] < FLOOR_OF["attacks"]
    for module in (ROOT / "training").rglob("*.py"):
        assert "attacks" not in {room for _, room in imported_rooms(ast.parse(module.read_text(encoding="utf-8")))}


def test_no_room_hides_a_public_function():
    """A package called like a public function would take its place on safecompress as soon as it is imported."""
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {path.stem for path in ROOT.glob("*.py")}
    assert rooms & set(safecompress.__all__) == {"attacks", "data", "models", "sparsity"}


def test_importing_the_package_is_free():
    code = f"import sys, safecompress; print([name for name in {NOT_LOADED_BY_IMPORT} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]" and result.stderr == ""


LIGHT = (
    ("import safecompress.metrics.stats", {"torch", "scipy.stats", "sklearn"}),
    ("from safecompress.data import DATASETS; DATASETS.describe()",
     {"tokenizers", "pyarrow", "transformers", "datasets", "huggingface_hub"}),
    ("import safecompress.training, safecompress.sparsity, safecompress.training.dp_sgd", {"sklearn", "opacus"}),
    ("import safecompress.studies.methods", {"jinja2"}),
)  # fmt: skip
"""What a program does, one after another, and what is not loaded by then: each takes parts of a second or seconds."""


@pytest.mark.slow
def test_the_rooms_load_no_heavy_library_that_their_work_does_not_need():
    """Rooms load them when they are used. Arithmetic needs no PyTorch, the name of a data set none of its packages,
    and methods render no page."""
    steps = [f"{step}; print(sorted({libraries!r} & set(sys.modules)))" for step, libraries in LIGHT]
    code = "\n".join(["import sys", *steps, "print('safecompress.data.text.tokenizers' in sys.modules)"])
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[]"] * len(LIGHT) + ["True"]


# --- the tests above can fail


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("training", "from safecompress.attacks import Attack", "training imports attacks, which is not below it"),
        ("sparsity", "def f():\n    import safecompress.data.tabular.files", "line 2: sparsity imports data"),
        ("metrics", "from safecompress import api", "metrics imports api"),
        ("metrics", "from safecompress import SafetySpec", "'SafetySpec', which is on no floor"),
        ("report", "import safecompress", "'the whole package'"),
        ("api", "from safecompress.testing import check_drop_rule", "for plug-in authors"),
        ("testing", "from safecompress.cli.main import main", "testing imports cli"),
        ("errors", "from safecompress.seeding import derive", "not below it"),
    ],
)
def test_a_broken_floor_is_seen(room, source, fault):
    (found,) = faults_of_floors(room, source)
    assert fault in found


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("cli", "from safecompress import __version__\nfrom safecompress.api import compress"),
        ("sparsity", "from safecompress.sparsity.topk import smallest\nimport torch"),
        ("testing", "from safecompress.attacks import Attack"),
    ],
)
def test_a_sound_floor_is_let_be(room, source):
    assert faults_of_floors(room, source) == []


def test_a_circle_is_seen_though_it_is_late_or_of_types_alone():
    late = "def f():\n    from safecompress.b import c"
    of_types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from safecompress.a import A"
    modules = {"a": late, "b": "from safecompress.b.c import C", "b.c": of_types, "d": "import safecompress.a"}
    assert import_graph(modules)["a"] == {"b.c"}
    assert circles(import_graph(modules)) == [["a", "b.c"]]
    assert circles(import_graph({**modules, "b.c": "import torch"})) == []


def test_circles_are_told_apart():
    assert circles({"a": "bc", "b": "a", "c": "d", "d": "e", "e": "c", "f": "f"}) == [["c", "d", "e"], ["a", "b"]]


def test_a_class_that_is_named_twice_is_seen():
    modules = {"a": "class Rows: ...", "b": "def f():\n    class Rows: ...", "c": "class Row: ..."}
    assert classes_named_alike(modules) == {"Rows": ["a", "b"]}


def test_a_word_of_many_types_is_seen():
    kinds = ("int", "str | None", "bytes", "Path", "float")
    modules = {f"m{number}": f"class C:\n    def f(self, x: {kind}): ..." for number, kind in enumerate(kinds)}
    assert overloaded_words(modules) == {"x": ["Path", "bytes", "float", "int", "str"]}
    assert overloaded_words({**modules, "m4": "def f(x: str): ..."}) == {}


def test_an_oversized_function_is_seen():
    long = "class C:\n    def f(self):\n" + "        pass\n" * MOST_LINES
    wide = "def g(a, b, c, d, *, e, f, g, h): ..."
    assert oversized_functions({"m": long + wide}) == ["m:C.f has 61 lines", "m:g has 8 parameters"]
    assert oversized_functions({"api": wide.replace("def g", "def audit")}) == []


def test_a_metric_in_a_string_is_seen_and_in_prose_is_let_be():
    modules = {"a": '"""Of lira.auc."""', "b": 'x = f"{name}.auc"', "c": "def f():\n    'The .auc.'"}
    assert modules_that_spell(modules, ".auc") == ["b"]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.hashing",
        "eval('1')",
        "exec(text)",
        "compile(text, 'f', 'exec')",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_code_from_a_file_is_seen(source):
    assert len(faults_of_safety(source)) >= 1


def test_harmless_namesakes_are_let_be():
    assert faults_of_safety("model.eval()\nre.compile('x')\nnp.load(p, allow_pickle=False)\nst.load(b)") == []
