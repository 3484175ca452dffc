"""All that is generated, by path, and what of it is stale."""

from __future__ import annotations

from pathlib import Path

from tools.reference import commands, curves, files, names, python, recipes, sections, stages

ROOT = Path(__file__).resolve().parents[2]
OWNED = ("docs/reference/stages", "docs/reference/python", "docs/images/curves")  # folders with nothing else in them


def generated(root: Path) -> dict[str, str]:
    """Path from `root` → text of every generated file, and of every page that has generated sections."""
    made = {
        "docs/reference/stages.md": stages.overview(),
        "docs/reference/commands.md": commands.page(),
        "docs/reference/names.md": names.page(),
        "docs/reference/python.md": python.overview(),
        "docs/reference/recipes.md": recipes.page(root),
        "docs/reference/files.md": files.page(),
        **{f"docs/reference/stages/{name}.md": text for name, text in stages.pages().items()},
        **{f"docs/reference/python/{name}.md": text for name, text in python.pages(root).items()},
        **{f"docs/images/curves/{name}.svg": text for name, text in curves.figures(root).items()},
    }
    for page in sorted((root / "docs").rglob("*.md")):
        name = page.relative_to(root).as_posix()
        if name not in made and sections.MARK in (text := page.read_text(encoding="utf-8")):
            made[name] = sections.filled(text, root, page)
    return made


def stale(root: Path) -> dict[str, str]:
    """The generated files that are missing or different, with the text they should have."""
    return {
        name: text
        for name, text in generated(root).items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    }


def leftovers(root: Path) -> list[str]:
    """Files in generated folders that nothing generates any more."""
    made = generated(root)
    there = [path for folder in OWNED for path in sorted((root / folder).glob("*")) if path.is_file()]
    return [name for path in there if (name := path.relative_to(root).as_posix()) not in made]
