"""An option that several verbs take is the same option everywhere: its spellings, its placeholder, its default."""

from collections import defaultdict

import typer.main

from safecompress.cli.app import app
from safecompress.cli.main import register

OTHERWISE = {("init", "--model"), ("export", "--to")}
"""The name of a network, where ``--model`` names code elsewhere; a format, where ``--to`` is the file of a list."""


def test_verbs_share_what_they_call_alike():
    register()
    declarations = defaultdict(set)
    for verb, command in typer.main.get_command(app).commands.items():
        for name, leaf in getattr(command, "commands", {verb: command}).items():
            for option in leaf.params:
                if option.param_type_name == "option" and (name, option.opts[0]) not in OTHERWISE:
                    declared = (*option.opts, option.metavar, str(option.default), option.is_flag, option.required)
                    declarations[option.opts[0]].add(declared)
    assert {"--json", "--out", "--workers", "--junit", "--root"} <= set(declarations)
    assert [alike for alike in declarations.values() if len(alike) > 1] == []
