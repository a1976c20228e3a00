"""What a release is made of agrees: versions, addresses, workflows, the description."""

import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

import mixup_jax as mx

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def loaded(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


# One version, one address, one linter.


def test_the_citation_is_of_this_version():
    citation = loaded("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == mx.__version__
    assert citation["authors"] == PYPROJECT["project"]["authors"]
    assert citation["license"] == PYPROJECT["project"]["license"]
    papers = [each["title"] for each in citation["references"]]
    assert "mixup: Beyond Empirical Risk Minimization" in papers


def test_the_changelog_begins_with_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## (\S+)", changelog, re.M)[0]
    assert mx.__version__.split(".dev")[0] == newest


def test_every_file_names_the_same_repository():
    urls = PYPROJECT["project"]["urls"]
    of_citation = loaded("CITATION.cff")
    assert of_citation["repository-code"] == urls["Source"]
    assert of_citation["url"] == urls["Documentation"]
    owner_and_name = urls["Source"].removeprefix("https://github.com/")
    for rule in substitutions():
        assert f"/{owner_and_name}/" in rule["replacement"]


def test_the_hooks_lint_with_the_version_that_is_installed_with_the_tests():
    revisions = {
        each["repo"].rsplit("/")[-1]: each["rev"].removeprefix("v")
        for each in loaded(".pre-commit-config.yaml")["repos"]
    }
    tools = PYPROJECT["project"]["optional-dependencies"]["tests"]
    assert f"ruff=={revisions['ruff-pre-commit']}" in tools


# Workflows run sessions that exist.


def commands(workflow: Any) -> Iterator[str]:
    """Yield what a workflow runs besides installing nox, for each row of a matrix."""
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
        runs = [step["run"] for step in job.get("steps", ()) if "run" in step]
        for run, row in itertools.product(runs, matrix):
            for name, value in row.items():
                run = run.replace(f"${{{{ matrix.{name} }}}}", value)
            if run != "python -m pip install nox":
                yield run


def sessions() -> set[str]:
    """Return the sessions that the workflows run, which is all that they run."""
    names = set()
    for file in WORKFLOWS:
        for command in commands(loaded(str(file))):
            found = re.fullmatch(
                r"nox -s (\S+) --error-on-missing-interpreters", command
            )
            assert found, f"{file.name}: expected one nox session; got `{command}`."
            names.add(found[1])
    return names


def test_workflows_run_sessions_that_exist():
    nox = [sys.executable, "-m", "nox", "--list", "--sessions"]
    listed = subprocess.run([*nox, *sessions()], cwd=ROOT, capture_output=True)
    assert listed.returncode == 0, listed.stderr.decode()


def test_workflows_run_the_tests_on_each_jax_and_build_everything():
    wanted = {"floor", "tests-3.11", "newest", "nightly", "docs", "links", "package"}
    assert wanted <= sessions()


def test_a_release_is_published_without_a_token():
    publish = loaded(".github/workflows/release.yml")["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]
    assert not any("password" in str(step) for step in publish["steps"])


# The description on a package index is the README with links that work there.


def substitutions() -> list[dict[str, str]]:
    hooks = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]
    return hooks["fancy-pypi-readme"]["substitutions"]


def described(readme: str) -> str:
    """Return the description that the build makes of a README."""
    for rule in substitutions():
        readme = re.sub(rule["pattern"], rule["replacement"], readme)
    return readme.replace("$HFPR_VERSION", mx.__version__)


def links(markdown: str) -> list[str]:
    """Return where the links and pictures of a page lead."""
    found = re.findall(r'(?:src|srcset|href)="([^"]*)"', MarkdownIt().render(markdown))
    return [target.split()[0] for target in found]


def code(markdown: str) -> list[str]:
    tokens = MarkdownIt().parse(markdown)
    return [token.content for token in tokens if token.type == "fence"]


EXAMPLE = """
![A picture](pictures/one.png) [its page](docs/a.md#part) [![both](b.svg)](LICENSE)
<img src="c.png"> <a href="docs/">docs</a> [elsewhere](https://example.org/d.md)

```python
losses = steps[0](losses.mean)
```
"""


def test_the_description_has_absolute_links():
    source = PYPROJECT["project"]["urls"]["Source"]
    page = f"{source}/blob/v{mx.__version__}"
    raw = page.replace("github.com", "raw.githubusercontent.com").replace("/blob", "")
    assert sorted(links(described(EXAMPLE))) == sorted(
        [
            f"{raw}/pictures/one.png",
            f"{page}/docs/a.md#part",
            f"{raw}/b.svg",
            f"{page}/LICENSE",
            f"{raw}/c.png",
            f"{page}/docs/",
            "https://example.org/d.md",
        ]
    )
    assert code(described(EXAMPLE)) == code(EXAMPLE)


def test_the_readme_leads_to_files_that_exist():
    relative = [link for link in links(README) if ":" not in link]
    assert relative
    for link in relative:
        target = ROOT / link.split("#")[0]
        # The sdist leaves the results out.
        assert target.exists() or "benchmarks/results" in link, link


def test_the_description_of_the_readme_has_no_relative_link():
    assert [link for link in links(described(README)) if ":" not in link] == []
    assert code(described(README)) == code(README)


def test_the_wheel_has_this_description():
    if ROOT in Path(mx.__file__).parents:
        pytest.skip("not installed from a wheel")
    message = importlib.metadata.metadata("mixup-jax")
    assert str(message.json["description"]).strip() == described(README).strip()
    assert message["Author"] == "mixup_jax contributors"
    assert message["License-Expression"] == "Apache-2.0"
    assert importlib.metadata.version("mixup-jax") == mx.__version__
