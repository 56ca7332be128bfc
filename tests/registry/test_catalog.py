"""What is installed is read as text, and a broken plugin breaks nothing but itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from distillkit.api import PluginError
from distillkit.registry import Catalog, NotOffered, Unusable

GOOD = '''
from distillkit.api import Kernel


class Rbf(Kernel):
    """A Gaussian kernel.

    More text.
    """
'''
TRAP = '''
import pathlib
pathlib.Path(__file__).with_name("sprung").touch()


class Rbf:
    """A class in a trap."""
'''


def issues(catalog: Catalog) -> list[str]:
    return [f"{issue.dist}: {issue.message}" for issue in catalog.issues]


def test_an_offer_says_where_it_comes_from_and_loads_its_class(install):
    install("distillkit-k", {"kernel": {"rbf": "distillkit_k:Rbf"}}, GOOD, needs="distillkit>=0.1,<0.2")
    catalog = Catalog.installed()
    (offer,) = catalog.offers
    assert (offer.kind, offer.name, offer.target) == ("kernel", "rbf", "distillkit_k:Rbf")
    assert (offer.dist, offer.version, offer.summary) == ("distillkit-k", "1.0", "A Gaussian kernel.")
    assert (catalog.load("kernel", "rbf").__name__, catalog.issues) == ("Rbf", ())


def test_nothing_is_imported_until_it_is_loaded(install, tmp_path):
    info = install("distillkit-trap", {"kernel": {"rbf": "distillkit_trap.inner.part:Rbf"}})
    folder = info.parent / "distillkit_trap" / "inner"
    folder.mkdir(parents=True)
    for file in (folder.parent / "__init__.py", folder / "__init__.py", folder / "part.py"):
        file.write_text(TRAP)
    catalog = Catalog.installed()
    assert [offer.summary for offer in catalog.offers] == ["A class in a trap."]
    assert not list(tmp_path.rglob("sprung"))
    with pytest.raises(Unusable, match=r"no subclass of distillkit.api.Kernel"):
        catalog.load("kernel", "rbf")
    assert len(list(tmp_path.rglob("sprung"))) == 2


def test_reading_the_catalog_and_a_recipe_module_imports_no_torch():
    code = (
        "import sys; from distillkit.registry import Catalog; import distillkit.recipe;"
        "[offer.summary for offer in Catalog.installed().offers]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def", "SyntaxError: invalid syntax"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("raise BaseException('as pytest skips')", "BaseException: as pytest skips"),
        ("x = 1", "AttributeError: module 'distillkit_k' has no attribute 'Rbf'"),
        ("Rbf = 3", "it is no subclass of distillkit.api.Kernel"),
        ("class Rbf: pass", "it is no subclass of distillkit.api.Kernel"),
        (GOOD + "\n    class Config:\n        x: int = 1", "its Config is no attrs class"),
        (
            GOOD + "\n    import attrs\n    @attrs.frozen\n    class Config:\n        use: int = 1",
            "its Config has the keys use, which the table of a kernel already has",
        ),
    ],
)
def test_a_broken_plugin_is_listed_and_fails_with_the_way_out_when_named(install, source, cause):
    install("distillkit-k", {"kernel": {"rbf": "distillkit_k:Rbf"}}, source)
    catalog = Catalog.installed()
    assert [offer.name for offer in catalog.offers] == ["rbf"]
    with pytest.raises(PluginError) as caught:
        catalog.load("kernel", "rbf")
    message = str(caught.value)
    assert message.startswith(f'kernel "rbf" of distillkit-k 1.0 (distillkit_k:Rbf) cannot be used: {cause}')
    assert message.endswith("; pip uninstall distillkit-k, or set DISTILLKIT_DISABLE=distillkit-k")
    assert "\n" not in message and caught.value.exit_code == 2


def test_two_distributions_with_one_name_are_named_only_when_it_is_used(install):
    install("distillkit-a", {"kernel": {"rbf": "distillkit_a:Rbf", "imq": "distillkit_a:Rbf"}}, GOOD)
    install("distillkit-b", {"kernel": {"rbf": "distillkit_b:Rbf"}}, GOOD)
    catalog = Catalog.installed()
    clash = 'kernel "rbf" is offered by distillkit-a 1.0 (distillkit_a:Rbf) and distillkit-b 1.0 (distillkit_b:Rbf)'
    clash += "; uninstall one, or set DISTILLKIT_DISABLE=distillkit-b"
    assert issues(catalog) == [f"distillkit-a: {clash}"]
    assert catalog.find("kernel", "imq").dist == "distillkit-a"
    with pytest.raises(Unusable) as caught:
        catalog.find("kernel", "rbf")
    assert str(caught.value) == clash


def test_one_distribution_found_twice_is_no_clash(install, tmp_path):
    install("distillkit-k", {"kernel": {"rbf": "distillkit_k:Rbf"}}, GOOD, version="2.0")
    install("Distillkit_K", {"kernel": {"rbf": "old:Rbf"}}, version="1.0", site="older")
    sys.path.insert(1, str(tmp_path / "older"))
    assert [(offer.dist, offer.version) for offer in Catalog.installed().offers] == [("distillkit-k", "2.0")]


def test_a_group_that_is_no_kind_names_the_nearest(install):
    install("distillkit-k", {"kernal": {"rbf": "m:Rbf"}, "zzz": {"x": "m:X"}})
    assert issues(Catalog.installed()) == [
        'distillkit-k: "distillkit.kernal" is no kind; did you mean distillkit.kernel?',
        'distillkit-k: "distillkit.zzz" is no kind',
    ]


def test_a_distribution_for_another_distillkit_is_listed_and_refused(install):
    install("distillkit-k", {"kernel": {"rbf": "distillkit_k:Rbf"}}, GOOD, needs="Distillkit>=7")
    catalog = Catalog.installed()
    assert issues(catalog) == ["distillkit-k: it needs distillkit >=7, and this is 0.1.0"]
    with pytest.raises(Unusable, match=r"cannot be used: it needs distillkit >=7, and this is 0.1.0"):
        catalog.load("kernel", "rbf")


@pytest.mark.parametrize("needs", ["distillkit>=7; extra == 'x'", "distillkit>=7; python_version < '3'", "torch>=99"])
def test_requirements_that_do_not_apply_refuse_nothing(install, needs):
    install("distillkit-k", {"kernel": {"rbf": "distillkit_k:Rbf"}}, GOOD, needs=needs)
    assert Catalog.installed().load("kernel", "rbf")


def test_malformed_offers_are_issues(install):
    install("distillkit-k", {"kernel": {"My_Kernel": "m:K", "ok": "no colon", "fine": "m:K [extra]"}})
    catalog = Catalog.installed()
    assert [(offer.name, offer.target) for offer in catalog.offers] == [("fine", "m:K")]
    assert issues(catalog) == [
        'distillkit-k: the kernel name "My_Kernel" is not lower-case with hyphens',
        'distillkit-k: the target of kernel "ok" is not "module:Class": "no colon"',
    ]


def test_unreadable_metadata_is_an_issue_and_the_rest_is_listed(install):
    install("distillkit-bad", {"kernel": {"bad": "m:K"}}, needs="distillkit ??")
    install("distillkit-worse", "[distillkit.kernel]\nno equals sign\n")
    install("distillkit-k", {"kernel": {"rbf": "distillkit_k:Rbf"}}, GOOD)
    catalog = Catalog.installed()
    assert [offer.name for offer in catalog.offers] == ["rbf"]
    assert sorted(text.partition(":")[0] for text in issues(catalog)) == [
        "distillkit_bad-1.0.dist-info",
        "distillkit_worse-1.0.dist-info",
    ]


def test_a_disabled_distribution_offers_nothing_and_the_hint_says_so(install, monkeypatch):
    install("distillkit-kernels", {"kernel": {"rbf": "distillkit_kernels:Rbf"}}, GOOD)
    monkeypatch.setenv("DISTILLKIT_DISABLE", "other, Distillkit_Kernels,")
    catalog = Catalog.installed()
    assert catalog.offers == ()
    with pytest.raises(NotOffered, match="distillkit-kernels offers it, but DISTILLKIT_DISABLE switches it off"):
        catalog.find("kernel", "rbf")


def test_an_unknown_name_gets_the_hint_that_helps_most(install):
    offers = {"kernel": {"rbf": "m:A", "mine": "m:B"}, "network": {"tiny": "m:C"}}
    install("distillkit-k", offers)
    catalog = Catalog.installed()

    def hint(kind: str, name: str) -> str:
        with pytest.raises(NotOffered) as caught:
            catalog.find(kind, name)
        assert caught.value.message == f'no {kind} named "{name}"'
        return caught.value.hint

    assert hint("kernel", "rbv") == 'did you mean "rbf"?   installed: mine, rbf'
    assert hint("kernel", "tiny") == '"tiny" is offered as network   installed: mine, rbf'
    assert hint("generator_loss", "sida") == "pip install distillkit-sid   installed: none"
    assert hint("network", "zzz") == "installed: tiny"


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ("", ""),
        ("class Other:\n    '''No.'''", ""),
        ("class Rbf: pass", ""),
        ("if True:\n    class Rbf:\n        '''Nested.'''", "Nested."),
        ("def", "(source cannot be read: SyntaxError)"),
        ("x = '\0'", "(source cannot be read: SyntaxError)"),
    ],
)
def test_a_summary_is_the_docstring_or_says_why_not(install, source, summary):
    install("distillkit-k", {"kernel": {"rbf": "distillkit_k:Rbf"}}, source)
    (offer,) = Catalog.installed().offers
    assert offer.summary.replace("ValueError", "SyntaxError") == summary


def test_the_source_of_an_editable_install_is_found_by_its_folder(install, tmp_path):
    info = install("distillkit-k", {"kernel": {"rbf": "far_away:Rbf"}})
    (info / "direct_url.json").write_text(f'{{"url": "{(tmp_path / "project").as_uri()}", "dir_info": {{}}}}')
    (tmp_path / "project" / "src").mkdir(parents=True)
    (tmp_path / "project" / "src" / "far_away.py").write_text(GOOD)
    assert [offer.summary for offer in Catalog.installed().offers] == ["A Gaussian kernel."]


def test_settings_of_a_method_that_are_no_tables_make_it_unusable(install):
    source = "from distillkit.api import GeneratorLoss\n\n\nclass M(GeneratorLoss):\n    recipe_defaults = ['sample']\n"
    install("distillkit-k", {"generator_loss": {"m": "distillkit_k:M"}}, source)
    with pytest.raises(Unusable, match="its recipe_defaults is no dict of tables"):
        Catalog.installed().load("generator_loss", "m")
