"""A hook of MkDocs: files of the repository that pages link to come onto the site, as they stand.

Pages are written so that their links work in the repository: ``../examples/digits.toml``. On the site such a file is
a page under ``repository/``: Markdown as it is, a picture as a picture, a folder of tables as a list, anything else as
code. A link to a file that is not there is left alone, so that a strict build fails on it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PREFIX = "repository"
PICTURES = (".svg", ".png")
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json"}
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add a page for every file outside docs/ that some page links to, and for those that these link to."""
    waiting = [f"docs/{file.src_uri}" for file in files if file.is_documentation_page()]
    waiting.append("benchmarks/results/index")  # the list of all tables, which no page need link to
    seen: set[str] = set()
    while waiting:
        source = waiting.pop()
        for target in _targets(source):
            if target not in seen and not target.startswith("docs/"):
                seen.add(target)
                files.append(_file(target, config))
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """``markdown`` with links to files outside docs/ turned to the pages that show them."""
    here = _home(page.file.src_uri)

    def turned(match: re.Match[str]) -> str:
        target = _resolved(here, match[2])
        if target is None:
            return match[0]
        path = posixpath.relpath(_uri(target), posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{path}{match[3] or ''}{match[4]}"

    return _LINK.sub(turned, markdown)


def _home(src_uri: str) -> str:
    """Where the text of a page lies in the repository."""
    if not src_uri.startswith(f"{PREFIX}/"):
        return f"docs/{src_uri}"
    return src_uri.removeprefix(f"{PREFIX}/").removesuffix(".md" if src_uri.endswith("index.md") else "")


def _targets(source: str) -> set[str]:
    """Files of the repository to which the page ``source`` links; of a folder, its tables."""
    path = ROOT / source.removesuffix("/index")
    if path.is_dir():
        return {f"{path.relative_to(ROOT).as_posix()}", *(str(p.relative_to(ROOT)) for p in path.glob("*.md"))}
    if path.suffix != ".md" or not path.is_file():
        return set()
    found = (_resolved(source, match[2]) for match in _LINK.finditer(path.read_text(encoding="utf-8")))
    return {target for target in found if target is not None}


def _resolved(source: str, link: str) -> str | None:
    """The path in the repository that ``link`` on the page ``source`` means, or None for no file of it."""
    if re.match(r"[a-z]+:", link) or link.startswith("/"):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return path if not path.startswith("..") and (ROOT / path).exists() else None


def _uri(target: str) -> str:
    """The page, or the picture, of the site that shows ``target``."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if (ROOT / target).is_dir():
        return f"{PREFIX}/{target}/index.md"
    return f"{PREFIX}/{target}" + ("" if target.endswith((".md", *PICTURES)) else ".md")


def _file(target: str, config: Any) -> File:
    path = ROOT / target
    if target.endswith(PICTURES):
        return File.generated(config, _uri(target), content=path.read_bytes())
    return File.generated(config, _uri(target), content=NOT_SEARCHED + _text(path))


def _text(path: Path) -> str:
    if path.is_dir():
        return _list_of_tables(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    fence = "~~~~"
    return (
        f"# {path.name}\n\n`{path.relative_to(ROOT)}`\n\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text}\n{fence}\n"
    )


def _list_of_tables(folder: Path) -> str:
    rows = []
    for path in sorted(folder.glob("*.md")):
        heading = next((line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")), "")
        rows.append(f"| [{path.stem}]({path.name}) | {heading.removeprefix('# ')} |")
    words = "Every table that the project has measured, as its program wrote it, with the command that made it."
    return "\n".join(["# Measurements", "", words, "", "| file | what it tells |", "| --- | --- |", *rows, ""])
