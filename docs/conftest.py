"""Run the Python blocks of every page, top to bottom, page by page."""

import jax
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

jax.config.update("jax_num_cpu_devices", 8)

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["*.md"],
    excludes=["_build/*", "_generated/*", "changelog.md", "contributing.md"],
).pytest()
