"""The directive of the benchmarks page: the tables of the last run that was kept, or a sentence that there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

MEASURED = "_benchmarks.md"
NONE_KEPT = "This copy of the documentation was built without results: make some as described above."


class Measured(SphinxDirective):
    """What `python -m benchmarks --write-docs` left beside the page."""

    def run(self) -> list[nodes.Node]:
        page = Path(self.env.srcdir) / MEASURED
        self.env.note_dependency(str(page))
        if not page.exists():
            return [nodes.paragraph(text=NONE_KEPT)]
        return self.parse_text_to_nodes(page.read_text(encoding="utf-8"), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("pillion-benchmarks", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
