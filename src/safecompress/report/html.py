"""report.html: one file that asks nothing of any network, runs nothing, and is readable on a phone and in print.

Pictures are SVG drawn here, not by a library in the reader's browser: they need no script, so that a policy can forbid
all of it; they follow the page's colours, light, dark and in print; and they take kilobytes instead of megabytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from safecompress.errors import printable
from safecompress.report import glossary, sections
from safecompress.report.model import Report
from safecompress.report.record import bound_lines, record_rows
from safecompress.report.text import GLOSSARY, attack_rows, columns_beside, figure_rows, ranking_line, size_line
from safecompress.report.text import num_rounds_beyond_noise as beyond_noise

TEMPLATE, STYLE = "report.html", "report.css"


def to_html(report: Report) -> str:
    """The whole page. Equal reports give equal pages."""
    style = _style()
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            style=Markup(style),
            policy=content_policy(style),
            lead=glossary.lead(report),
            record=record_rows(report),
            bounds=bound_lines(report),
            limits=glossary.limits(report),
            symbol=glossary.SYMBOL,
            tiles=sections.tiles(report),
            requirements=sections.requirements(report),
            pareto=sections.pareto(report),
            roc=sections.roc(report),
            exposure=sections.exposure(report),
            layers=sections.layers(report),
            arms=sections.arms(report),
            rounds=sections.rounds(report),
            beyond=beyond_noise(report),
            ranking=ranking_line(report),
            ships=sections.ships(report),
            size_line=size_line(report),
            health=sections.health(report),
            split=sections.split(report),
            columns=columns_beside(report),
            figures=figure_rows(report),
            attacks=attack_rows(report),
            glossary=GLOSSARY,
            recipe=sections.facts({key: value for key, value in report.search.items() if key in ("plan", "recipe")}),
            digests=sections.digests(report),
            environment=sections.facts(report.environment),
        )
    )


def content_policy(style: str) -> str:
    """A Content-Security-Policy under which nothing is loaded, sent or run, and only ``style`` colours the page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@functools.cache
def _style() -> str:
    return (resources.files("safecompress.report") / "templates" / STYLE).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("safecompress.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}%"
    return environment


def _harmless(value: Any) -> Any:
    """What a template prints: text from a report loses what is not printable, before it is escaped."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
