"""The imports of a source, for the tests that check which file may import which."""

import ast
from collections.abc import Iterator


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield each import of a source: its full name, and the name it binds."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # ``import a.b`` binds ``a``.
                known = alias.asname or alias.name.partition(".")[0]
                yield alias.name, known
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "this repository has no relative imports"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", alias.asname or alias.name
