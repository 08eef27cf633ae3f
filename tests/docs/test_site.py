"""The documentation site: its reference is what the code says, its links lead somewhere, no network is asked."""

import importlib
import importlib.util
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patience import patience
from safecompress.attacks import ATTACKS
from safecompress.config.tables import DataShape, RequireShape, SearchShape, SpecShape
from safecompress.data import DATASETS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TOOLS = DOCS / "tools"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)


@pytest.fixture
def tool(monkeypatch):
    """What makes the reference, by the name of its module; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(TOOLS))
    yield importlib.import_module
    for path in TOOLS.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_the_reference_is_what_the_code_says(tool):
    assert not [*tool("generate").stale()], "stale: run python docs/tools/generate.py"


def test_a_changed_page_is_stale(tool, tmp_path, monkeypatch):
    generate = tool("generate")
    for path in (DOCS / "reference").glob("*.md"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "names.md").write_text((tmp_path / "names.md").read_text().replace("`lira`", "`lyra`"))
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    assert [*generate.stale()] == ["names.md"]


def test_every_key_says_what_it_takes_and_what_it_is():
    page = (DOCS / "reference" / "spec.md").read_text()
    keys = [
        line.split(" | ") for line in page.splitlines() if line.startswith(("| `", "| [`")) and line.count(" | ") == 3
    ]
    assert len(keys) > 75
    for key, takes, default, says in keys:
        assert takes and default and len(says) > 6, key
    named = {re.search(r"`(.+?)`", key[0])[1] for key in keys}
    for shape in (SpecShape, DataShape, SearchShape, RequireShape):
        assert named >= {*shape.model_fields}


def test_limits_defaults_and_names_are_the_codes():
    spec, names = ((DOCS / "reference" / name).read_text() for name in ("spec.md", "names.md"))
    assert "| `density` | a number, above 0, at most 1 | `0.1` |" in spec
    assert "| `alpha` | a number, above 0, at most 0.1 | `0.05` |" in spec
    assert all(f"| `{name}` |" in names for registry in (ATTACKS, DATASETS) for name in registry.builtins)
    assert re.search(r"\| `lira` \| .* \| `scores` \| 2 \| `num_shadows = 16`", names)


def test_every_option_of_every_verb_is_told(tool):
    import typer

    from safecompress.cli.app import app

    command_page = tool("command_page")
    text = command_page.command_page()
    sections = dict(re.findall(r"^## `(.+?)`\n(.*?)(?=^## |\Z)", text, flags=re.S | re.M))
    verbs = dict(command_page.verbs(typer.main.get_command(app)))
    assert [*sections] == [*verbs] and len(verbs) >= 11
    for name, verb in verbs.items():
        assert all(f"`{option}`" in sections[name] for option in command_page.options_of(verb)), name


def test_every_page_is_in_the_navigation():
    yaml = pytest.importorskip("yaml")
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in pages(part)]

    listed = [page for page in pages(nav) if not page.startswith("repository/")]
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_to_files_that_are_there(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", link):
            target = posixpath.normpath(posixpath.join(page.parent.relative_to(ROOT).as_posix(), link))
            assert (ROOT / target).exists(), link


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site, and what the builder said."""
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return folder, subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_site_is_built_without_a_warning_and_asks_nothing_of_a_network(site):
    folder, built = site
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r"<(?:script|img|iframe|source)[^>]*\bsrc=\"?([^\"\s>]+)", text)
        loads += re.findall(r"<link[^>]*\bhref=\"?([^\"\s>]+)", text)
        assert loads and not [one for one in loads if re.match(r"(https?:)?//", one)], page
    found = json.loads((folder / "search" / "search_index.json").read_text())["docs"]
    titles = {word for doc in found for word in (doc["title"], doc["title"].split()[0])}
    assert {"The spec file", "SafetySpec", "Tutorial:"} <= titles
    assert (folder / "repository" / "examples" / "digits.toml.html").is_file()
    assert not [*folder.rglob("*.py")]


@pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(BROWSERS)} is installed")
def test_from_disk_the_search_finds_and_nothing_goes_wrong(site, tmp_path):
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={tmp_path}", "--enable-logging=stderr",
        "--virtual-time-budget=20000", "--dump-dom", f"{(site[0] / 'index.html').as_uri()}?q=shadows",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(30), check=False)
    assert int(re.search(r"(\d+) matching documents", done.stdout)[1]) > 3
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
