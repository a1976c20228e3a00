"""The built documentation in a browser; ``nox -s docs`` builds it and runs this."""

import ast
import functools
import http.server
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

import mixup_jax as mx
from tests.test_api import NAMESPACES

SITE = Path(__file__).parents[1] / "docs" / "_build" / "html"
PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if not {"_modules", "_static", "search.html"} & set(path.parts)
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PAGES, reason="build the site first: nox -s docs"),
]


def public_names():
    """Return the names that users reach, as Sphinx writes them."""
    package = Path(mx.__file__).parent
    found = {f"mixup_jax.{name}" for name in exported(package / "__init__.py")}
    for namespace in NAMESPACES:
        path = package / namespace
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        found |= {f"mixup_jax.{namespace}.{name}" for name in exported(path)}
    return found - {f"mixup_jax.{namespace}" for namespace in NAMESPACES}


def exported(path):
    """Yield the names that a module defines or re-exports, ``import x as x``."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if alias.asname == alias.name]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def test_the_inventory_has_every_public_name():
    sphinx: Any = pytest.importorskip("sphinx.util.inventory")
    with (SITE / "objects.inv").open("rb") as file:
        inventory = sphinx.InventoryFile.load(file, "", os.path.join)
    known = {
        name
        for kind, names in inventory.items()
        if kind.startswith("py:")
        for name in names
    }
    assert public_names() - known == set()


@pytest.fixture(scope="module")
def served():
    """Serve the site on a free port of this machine."""
    handler = functools.partial(_Quiet, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        del format, args


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    playwright: Any = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield started
        started.close()


@pytest.fixture
def page(browser, served):
    """A page that fails the test on console errors and on requests to elsewhere."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900}, base_url=served)
    problems = []
    opened.on(
        "console",
        lambda said: problems.append(said.text) if said.type == "error" else None,
    )
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((served, "data:"))
            else problems.append(f"asks for {request.url}")
        ),
    )
    yield opened
    opened.close()
    assert problems == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_renders(page, name):
    response = page.goto(name)
    assert response.ok
    assert page.locator("article h1, #search-results").first.is_visible()
    broken = page.eval_on_selector_all(
        "main img", "images => images.filter(i => !i.naturalWidth).map(i => i.src)"
    )
    assert broken == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_a_phone(page, name):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(name)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 400


def test_search_finds_cutmix(page):
    page.goto("search.html?q=cutmix")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all(
        "#search-results li a", "links => links.map(a => a.getAttribute('href'))"
    )
    assert any("methods/cutmix" in link for link in found)


def test_screenshots(page):
    """Write what the site looks like, light and dark, wide and narrow."""
    folder = SITE.parent / "screenshots"
    folder.mkdir(exist_ok=True)
    for name in ("index.html", "methods/cutmix.html", "api/mix.html", "cost.html"):
        for scheme in ("light", "dark"):
            for width in (1200, 400):
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size({"width": width, "height": 900})
                page.goto(name)
                stem = name.removesuffix(".html").replace("/", "-")
                shot = folder / f"{stem}-{scheme}-{width}.png"
                page.screenshot(path=shot, full_page=width == 1200)
                assert shot.stat().st_size > 10_000
