"""``python -m tools.docsite [OUT]``: builds the site, warnings being errors, and checks every link in what came out.

Exit code 1 where a page or a link is wrong; each is a line on standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.cmd.build import build_main
from tools.docsite.assemble import assemble
from tools.docsite.check import problems

ROOT = Path(__file__).resolve().parents[2]


def build(out: Path) -> int:
    """Source pages → `out`. Beside it stand the assembled sources and what Sphinx remembers of them."""
    sources = out.with_name(f"{out.name}-source")
    assemble(ROOT, sources)
    told = ["-q", "-W", "--keep-going", "-c", str(Path(__file__).parent), "-d", str(out.with_name(f"{out.name}-trees"))]
    if build_main([*told, "-b", "html", str(sources), str(out)]):
        return 1
    wrong = problems(out)
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"{out / 'index.html'}: {len(list(out.rglob('*.html')))} pages, every link leads somewhere")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"))
