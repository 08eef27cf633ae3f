"""The README as a package index shows it: no link leads nowhere; and no page installs a name that nobody here owns."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def for_index():
    spec = importlib.util.spec_from_file_location("index_readme", ROOT / "docs" / "tools" / "index_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.for_index


@pytest.mark.parametrize(
    ("text", "named", "linked"),
    [
        ("see [data](docs/data.md#x).", "see data (`docs/data.md`).", "see [data](https://h/docs/data.md#x)."),
        ("[a](https://b/c)", "[a](https://b/c)", "[a](https://b/c)"),
        ("[a](#b)", "[a](#b)", "[a](#b)"),
        ("![p](docs/p.svg) t", " t", "![p](https://h/docs/p.svg) t"),
        ("[`LICENSE`](LICENSE)", "`LICENSE`", "[`LICENSE`](https://h/LICENSE)"),
        ("```py\nx[0](a)\n```\n", "```py\nx[0](a)\n```\n", "```py\nx[0](a)\n```\n"),
    ],
)
def test_relative_links_are_named_or_lead_to_the_repository(for_index, text, named, linked):
    assert for_index(text) == named
    assert for_index(text, "https://h/") == linked


def test_the_readme_has_no_relative_link_there(for_index):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\]\(docs/", readme)
    outside_code = re.sub(r"^```.*?^```$", "", for_index(readme), flags=re.M | re.S)
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", outside_code) == []


def test_no_page_and_no_message_installs_the_projects_name_from_an_index():
    """Nobody owns it there, so anybody could put a package of theirs under it."""
    files = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*"),
        *(ROOT / "src").rglob("*.py"),
    ]
    texts = {file: file.read_text(encoding="utf-8") for file in files if file.suffix in (".md", ".py", ".toml", ".yml")}
    found = [
        f"{file.relative_to(ROOT)}: {hit}"
        for file, text in texts.items()
        for hit in re.findall(
            r"(?:pip|pipx|uv)[a-z -]* (?:install|add|tool)[^\n`]*[ \"'`]safecompress(?![/\w])[^/\n`]{0,20}", text
        )
    ]
    assert found == []
