"""Definitions read from source files, not imported: a library that is missing or heavy changes nothing."""

from __future__ import annotations

import ast
import functools
import textwrap
from dataclasses import dataclass
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Found:
    """A definition, the module that has it, and that module's lines."""

    name: str
    module: str
    node: Definition
    lines: tuple[str, ...]

    @property
    def doc(self) -> str | None:
        return ast.get_docstring(self.node) if isinstance(self.node, _DOCUMENTED) else None

    def text(self) -> str:
        """The whole definition as it stands in the source, decorators included."""
        return _dedented(self.lines, _first_line(self.node), self.node.end_lineno or self.node.lineno)

    def outline(self) -> str:
        """A function's signature; a class with its fields and the signatures of its public methods."""
        if isinstance(self.node, ast.ClassDef):
            return _class(self.node, self.lines)
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef):
            return _signature(self.node, self.lines) + "\n    ..."
        return self.text() if len(self.text()) < 300 else f"{self.name} = ..."


_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def path_of(root: Path, module: str) -> Path:
    """The file of a module of the package. FileNotFoundError where there is none."""
    stem = root / "src" / Path(*module.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"there is no module {module} under {root / 'src'}")


@functools.cache
def _parsed(path: Path) -> tuple[ast.Module, tuple[str, ...]]:
    text = path.read_text(encoding="utf-8")
    return ast.parse(text), tuple(text.splitlines())


def module_doc(root: Path, module: str) -> str:
    return ast.get_docstring(_parsed(path_of(root, module))[0]) or ""


def public_names(root: Path, module: str) -> list[str]:
    """`__all__`, or else every function and class at the top that has no underscore, in the order of the source."""
    tree, _ = _parsed(path_of(root, module))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return sorted(ast.literal_eval(node.value), key=str.lower)
    return [n.name for n in tree.body if isinstance(n, _DOCUMENTED) and not n.name.startswith("_")]


def find(root: Path, module: str, name: str) -> Found:
    """Where `name` of `module` is defined, through the imports that pass it on. LookupError where it isn't."""
    tree, lines = _parsed(path_of(root, module))
    for node in tree.body:
        if name in _names_of(node):
            assert isinstance(node, Definition)
            return Found(name, module, node, lines)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("posttrain"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(root, node.module, alias.name)
    raise LookupError(f"{module} neither defines nor imports {name}")


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, _DOCUMENTED):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def _dedented(lines: tuple[str, ...], first: int, last: int) -> str:
    return textwrap.dedent("\n".join(lines[first - 1 : last]))


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: tuple[str, ...]) -> str:
    """Decorators and the head, as written."""
    body = node.body[0]
    shared = bool(lines[body.lineno - 1][: body.col_offset].strip())  # `...` on the line that ends the head
    last = body.lineno if shared else body.lineno - 1
    head = _dedented(lines, _first_line(node), last).rstrip()
    while head.splitlines()[-1].lstrip().startswith("#"):
        head = head.rpartition("\n")[0]
    return head if head.endswith(":") else head.rpartition(":")[0] + ":"


def _class(node: ast.ClassDef, lines: tuple[str, ...]) -> str:
    """Its head, its fields with their comments and docstrings, and its public methods without their bodies."""
    parts = [_dedented(lines, _first_line(node), node.lineno)]
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    before = None
    for item in body:
        named = [name for name in _names_of(item) if not name.startswith("_")]
        field = isinstance(item, ast.Assign | ast.AnnAssign) and named
        words = (
            isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
        )
        if field or (words and before):
            parts.append(textwrap.indent(_dedented(lines, item.lineno, item.end_lineno or item.lineno), "    "))
        elif isinstance(item, ast.FunctionDef) and (named or item.name == "__init__"):
            parts.append(textwrap.indent(_method(item, lines), "    "))
        before = field
    return "\n".join(parts if len(parts) > 1 else [*parts, "    ..."])


def _method(node: ast.FunctionDef, lines: tuple[str, ...]) -> str:
    doc = ast.get_docstring(node, clean=True)
    mark = "r" if doc and "\\" in doc else ""
    told = textwrap.indent(f'{mark}"""{doc}"""', "    ") if doc else "    ..."
    return f"{_signature(node, lines)}\n{told}"
