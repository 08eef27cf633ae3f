"""The house stands: floors import only downward, doors that must stay shut are shut, nothing runs code from a file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import safecompress

ROOT = Path(safecompress.__file__).parent

# From the bottom up. A room imports from rooms on lower floors, never from its own floor's other rooms.
FLOORS = [
    {"errors"},
    {"seeding", "storage", "ranges", "registry", "progress", "digests", "threads"},
    {"metrics", "loggers"},
    {"data", "models", "sparsity"},
    {"training", "deploy", "integrations"},
    {"attacks", "runtime"},
    {"spec"},
    {"search", "certify"},
    {"report"},
    {"job", "runfolder", "gate"},
    {"stages"},
    {"shadowing"},
    {"ranking", "auditing"},
    {"pipeline", "config", "estimate"},
    {"studies"},
    {"api"},
    {"workflows"},
    {"cli", "pytest_plugin"},
    {"__main__"},
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

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(ROOT.rglob("*.py"))


def room_of(module: Path) -> str:
    """The room that a module lies in; the package's own __init__ has none."""
    first = module.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported_rooms(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, room) of every import from this package, wherever in the module it stands."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write imports from safecompress in full"
            found += [(node.lineno, f"{node.module}.{name.name}") for name in node.names]
    parts = [(line, name.split(".")) for line, name in found]
    return [(line, path[1] if len(path) > 1 else "") for line, path in parts if path[0] == "safecompress"]


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
    assert set(FLOOR_OF) == rooms


def test_the_studies_stand_side_by_side_on_engine_and_methods():
    floor_of = {part: floor for floor, parts in enumerate(FLOORS_OF_STUDIES) for part in parts}
    modules = [module for module in (ROOT / "studies").rglob("*.py") if module.parent != ROOT / "studies"]
    assert {module.parent.name for module in modules} == set(floor_of)
    for module in modules:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        others = {str(name).split(".")[2] for name in names if str(name).startswith("safecompress.studies.")}
        own = module.parent.name
        above = {other for other in others - {own} if floor_of[other] >= floor_of[own]}
        assert not above, f"studies/{own}/{module.name} imports {above}, which is not below it"


def test_training_is_given_its_attackers():
    """A door that must stay shut: adversarial training takes attackers as arguments and imports none."""
    assert FLOOR_OF["training"] < FLOOR_OF["attacks"]
    for module in (ROOT / "training").rglob("*.py"):
        assert "attacks" not in {room for _, room in imported_rooms(ast.parse(module.read_text(encoding="utf-8")))}


def test_importing_the_package_is_free():
    code = f"import sys, safecompress; print([name for name in {NOT_LOADED_BY_IMPORT} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]" and result.stderr == ""


def test_the_rooms_load_no_heavy_library_that_their_work_does_not_need():
    """scipy.stats and sklearn take seconds to import: rooms load them when they are used."""
    code = "import sys, safecompress.training, safecompress.sparsity; print('sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# --- the tests above can fail


@pytest.mark.parametrize(
    ("room", "source", "fault"),
    [
        ("training", "from safecompress.attacks import Attack", "training imports attacks,"),
        ("sparsity", "def f():\n    import safecompress.data.tabular.files", "line 2: sparsity imports data"),
        ("metrics", "from safecompress import api", "metrics imports api"),
        ("metrics", "from safecompress import SafetySpec", "'SafetySpec', which is"),
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
