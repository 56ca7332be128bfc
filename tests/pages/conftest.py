"""Every page that distillkit makes, opened in a headless Chromium; where that or axe-core is missing, tests say so."""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distillkit.watch.server import Watch

AXE = Path(os.environ.get("AXE_CORE") or Path(__file__).parents[2] / ".tox/axe/package/axe.min.js")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAY_OUT = "install Debian's chromium, and run .ci/browser for axe-core"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser that has no window and nothing of a person's."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pages are not looked at: pip install playwright")
    if CHROMIUM is None:
        pytest.skip(f"pages are not looked at: no Chromium here; {WAY_OUT}")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        except sync_api.Error as error:  # a launcher of a package that is not there, a library that is missing
            pytest.skip(f"pages are not looked at: {CHROMIUM} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def see(chromium: Any) -> Iterator[Callable[..., Any]]:
    """`see(url, width=1280, scheme="light", script=True)` -> a Page, on which no error may have happened at the end."""
    contexts, errors = [], list[str]()

    def opened(url: str, width: int = 1280, scheme: str = "light", script: bool = True, **more: Any) -> Any:
        size = {"width": width, "height": 900}
        context = chromium.new_context(viewport=size, color_scheme=scheme, java_script_enabled=script, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core."""
    if not AXE.is_file():
        pytest.skip(f"accessibility is not looked at: no axe-core at {AXE}; {WAY_OUT}, or set AXE_CORE to axe.min.js")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def watched(runs: Path) -> Iterator[str]:
    """The address of `distillkit watch` over the runs."""
    with Watch(runs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url()
        server.shutdown()


@pytest.fixture(scope="session")
def address(runs: Path, watched: str) -> Callable[[str], str]:
    """From the name of a page to its address."""

    def of(name: str) -> str:
        if name.startswith("watch"):
            return watched + name.removeprefix("watch/")
        file = runs / name / "report.html" if (runs / name).is_dir() else runs / f"{name}.html"
        return file.as_uri()

    return of


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of made.py."""
    spec = importlib.util.spec_from_file_location("pages_made", Path(__file__).with_name("made.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("pages")
    module.everything(root)
    return root
