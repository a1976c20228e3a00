"""Formulas as MathML, which browsers draw without scripts or fonts from elsewhere."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def _inline(self, node) -> None:
    self.body.append(convert(node.astext(), display="inline"))
    raise SkipNode


def _block(self, node) -> None:
    self.body.append(
        f'<div class="formula">{convert(node.astext(), display="block")}</div>'
    )
    raise SkipNode


def setup(app) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
