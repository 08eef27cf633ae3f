"""One registry for built-ins and plug-ins: found late, duplicates refused, close names suggested."""

import shutil
import sys
from dataclasses import dataclass

import pytest

from safecompress import registry
from safecompress.errors import UsageError
from safecompress.registry import Registry
from safecompress.sparsity import DROP_RULES, DropMagnitude, DropThreshold


@dataclass(frozen=True)
class Small:
    size: int = 1

    def __post_init__(self):
        if self.size < 0:
            raise UsageError(f"Small: size must not be negative, got {self.size}.")


@dataclass(frozen=True)
class Tall:
    """A tall thing.

    And more of it.
    """


THINGS = Registry("thing", "safecompress.test_things", {"small": Small, "tall": Tall})


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution with entry points on the path, as pip would."""

    def install(package, points, source="class Wide:\n    depth = 3\n", site=None):
        site = site or tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[safecompress.test_things]\n{lines}\n")
        (site / f"{package}.py").write_text(source)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))
        return site

    yield install
    for name in [name for name in sys.modules if name.startswith("thing_plugin")]:
        del sys.modules[name]


def test_names_come_sorted_with_their_origin():
    assert THINGS.names() == ["small", "tall"]
    assert THINGS.origins() == {"small": "built in", "tall": "built in"}


def test_an_object_a_name_and_a_table_all_become_an_object():
    given = Small(4)
    assert THINGS.make(given) is given
    assert THINGS.make("small") == Small()
    assert THINGS.make({"name": "small", "size": 3}) == Small(3)
    table = {"name": "small", "size": 3}
    THINGS.make(table)
    assert table == {"name": "small", "size": 3}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("smal", "thing 'smal'. .*'small'. Allowed: small, tall"),
        ("zzz", "thing 'zzz'. Allowed: small, tall"),
        ({"name": "smal"}, "mean 'small'"),
        ({"size": 3}, "needs a name.*small, tall"),
        ({"name": 3}, "needs a name"),
        ({"name": "small", "length": 3}, "'small' does not .*length"),
        ({"name": "small", "size": -1}, "size .*negative"),
    ],
)
def test_what_names_nothing_is_refused_with_what_is_allowed(choice, message):
    with pytest.raises(UsageError, match=message):
        THINGS.make(choice)


def test_a_plug_in_is_found_when_asked_for_and_not_loaded_before(install):
    install("thing_plugin_a", {"wide": "thing_plugin_a:Wide"})
    assert THINGS.names() == ["small", "tall", "wide"]
    assert THINGS.origins()["wide"] == "thing_plugin_a"
    assert "thing_plugin_a" not in sys.modules
    assert THINGS.make("wide").depth == 3
    with pytest.raises(UsageError, match="mean 'wide'"):
        THINGS.make("wid")


def test_what_packages_declare_is_read_once_and_again_when_one_is_installed_or_deleted(install, monkeypatch):
    """Also into a folder that is already on the path, as `pip install` does beside a running program."""
    reads, read = [], registry.entry_points
    monkeypatch.setattr(registry, "entry_points", lambda: reads.append(1) or read())
    site = install("thing_plugin_f", {"wide": "thing_plugin_f:Wide"})
    monkeypatch.setattr(sys, "path", [str(site)])  # nobody else writes there meanwhile
    for _ in range(3):
        assert THINGS.names() == ["small", "tall", "wide"] and "wide" not in DROP_RULES.names()
    assert len(reads) == 1
    install("thing_plugin_g", {"deep": "thing_plugin_f:Wide"}, site=site)
    assert THINGS.names() == ["deep", "small", "tall", "wide"]
    assert THINGS.make("deep").depth == 3
    shutil.rmtree(site / "thing_plugin_g-1.0.dist-info")
    assert THINGS.names() == ["small", "tall", "wide"]
    assert len(reads) == 3


def test_a_plug_in_that_takes_a_built_in_s_name_is_refused_not_preferred(install):
    install("thing_plugin_b", {"small": "thing_plugin_b:Wide"})
    with pytest.raises(UsageError, match=r"'small' is claimed .*thing_plugin_b:Wide.* rename"):
        THINGS.names()
    assert THINGS.make("small") == Small()
    with pytest.raises(UsageError, match="claimed twice"):
        THINGS.make("unknown")


def test_two_plug_ins_with_one_name_are_refused(install):
    install("thing_plugin_c", {"wide": "thing_plugin_c:Wide"})
    install("thing_plugin_d", {"wide": "thing_plugin_d:Wide"})
    with pytest.raises(UsageError, match="'wide' is claimed"):
        THINGS.make("wide")


def test_a_plug_in_of_another_group_is_none_of_ours(install):
    install("thing_plugin_e", {"wide": "thing_plugin_e:Wide"})
    assert "wide" not in DROP_RULES.names()


def test_the_rooms_own_registries_make_their_rules():
    assert DROP_RULES.make("magnitude") == DropMagnitude()
    assert DROP_RULES.make({"name": "threshold", "scale": 0.5}) == DropThreshold(0.5)
    with pytest.raises(UsageError, match=r"scale.*above 0"):
        DROP_RULES.make({"name": "threshold", "scale": 0})
