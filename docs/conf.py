"""Configuration of the documentation, which ``nox -s docs`` builds offline."""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from _site import evidence, pictures  # noqa: E402

import mixup_jax  # noqa: E402
from examples._imagenet import options  # noqa: E402

project = "mixup_jax"
author = copyright = "mixup_jax contributors"
release = version = mixup_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "_site.mathml",
]
exclude_patterns = ["_build", "_generated", "_site"]
root_doc = "index"

# A broken reference is an error. What lives in other projects is checked only where
# their inventories can be fetched: ``sphinx-build -t online``.
nitpicky = True
if tags.has("online"):  # noqa: F821
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "jax": ("https://docs.jax.dev/en/latest", None),
        "flax": ("https://flax.readthedocs.io/en/latest", None),
        "optax": ("https://optax.readthedocs.io/en/latest", None),
    }
else:
    nitpick_ignore_regex = [
        ("py:.*", r"(?!mixup_jax\b).*"),
    ]
# The repository and the package index know of this version once it is released.
linkcheck_ignore = [r"https://github\.com/mixup-jax/.*"]
linkcheck_anchors = False
linkcheck_timeout = 20
linkcheck_retries = 2

autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 4
myst_substitutions = evidence.figures()
myst_url_schemes = ("http", "https", "mailto")

html_theme = "sphinx_book_theme"
html_title = f"mixup_jax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
}
html_context = {"default_mode": "auto"}
html_favicon = "_static/logo.svg"
html_logo = "_static/logo.svg"
html_copy_source = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# The same text whenever it is built, so that two builds can be compared.
html_last_updated_fmt = None


REPOSITORY = "https://github.com/mixup-jax/mixup_jax"


def _linked(text: str) -> str:
    """Return a page with its links to files of the repository made to lead there."""
    outside = (
        r"\]\((?:\.\./)*((?:benchmarks|examples|tests|README|CONTRIBUTING)[^)]*)\)"
    )
    text = re.sub(outside, rf"]({REPOSITORY}/blob/main/\1)", text)
    return text.replace("](docs/", "](")


def _read(app, name, content) -> None:
    content[0] = _linked(content[0])


def _generate(app) -> None:
    generated = HERE / "_generated"
    pictures.write(generated / "pictures")
    evidence.write(generated)
    flags = options.arguments("Train ViT-S/16 or ResNet-50 on ImageNet.").format_help()
    (generated / "imagenet-help.txt").write_text(flags)
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        (generated / name).write_text(_linked((HERE.parent / name).read_text()))


def _signature(app, what, name, obj, options, arguments, returned):
    if arguments is not None:
        return arguments.replace("DEFAULT_ALPHA", "1.0"), returned


def setup(app) -> None:
    app.connect("builder-inited", _generate)
    app.connect("source-read", _read)
    app.connect("autodoc-process-signature", _signature)
