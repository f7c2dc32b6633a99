"""Finds where settings come from, by the source text of a settings file, which is not run.

A setting has a path, such as ``("PROVIDERS", "openai", "api_key")``. What a text cannot tell, like
the entries of a dictionary that a function returns, has the origin of the whole.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

Path = tuple[str, ...]
#: The environment variables that the value at each path is made of.
Variables = dict[Path, frozenset[str]]


def origins(source: bytes) -> Variables:
    """Return the paths that a settings file defines, with the environment variables of each.

    A file that cannot be parsed defines nothing.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    reader = _Reader()
    for statement in tree.body:
        reader.visit(statement)
    return reader.found


class _Reader(ast.NodeVisitor):
    """Follows the assignments of a module; functions and classes are not looked into."""

    def __init__(self) -> None:
        self.found: Variables = {}
        self._condition: frozenset[str] = frozenset()  # variables that the branch depends on

    def visit_FunctionDef(self, _: ast.FunctionDef) -> None:
        """Skip it: its names are its own."""

    def visit_ClassDef(self, _: ast.ClassDef) -> None:
        """Skip it likewise."""

    def visit_If(self, node: ast.If) -> None:
        before, self._condition = self._condition, self._condition | self._variables(node.test)
        for statement in (*node.body, *node.orelse):
            self.visit(statement)
        self._condition = before

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._assign(node.target, node.value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        path = _path_of(target)
        if path is not None:
            self._record(path, value)

    def _record(self, path: Path, value: ast.expr) -> None:
        variables = self._variables(value) | self._condition
        self.found[path] = self.found.get(path, frozenset()) | variables
        if isinstance(value, ast.Dict):
            for key, inner in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant):
                    self._record((*path, str(key.value)), inner)

    def _variables(self, node: ast.expr) -> frozenset[str]:
        """Return the variables in an expression, and those of the names in it."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        known = [self.found.get((name,), frozenset()) for name in names]
        return frozenset(_variables_in(node)).union(*known)


def _path_of(target: ast.expr) -> Path | None:
    """Return the path of ``NAME["a"]["b"]``; None for anything else."""
    if isinstance(target, ast.Name):
        return (target.id,)
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        outer = _path_of(target.value)
        return None if outer is None else (*outer, str(target.slice.value))
    return None


def _variables_in(node: ast.expr) -> Iterator[str]:
    """Yield X of ``os.environ["X"]``, ``os.environ.get("X")`` and ``os.getenv("X")``."""
    for inner in ast.walk(node):
        name: ast.expr | None = None
        if isinstance(inner, ast.Subscript) and ast.unparse(inner.value).endswith("environ"):
            name = inner.slice
        elif isinstance(inner, ast.Call) and inner.args:
            called = ast.unparse(inner.func)
            if called.endswith(("environ.get", "getenv")):
                name = inner.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


def origin_of(
    path: Path, file: Variables, module: Variables, environment: Mapping[str, str]
) -> str:
    """Return "default", "file" or "environment: NAME", for a setting that is not its default.

    ``file`` is what the operator's file defines, ``module`` what app/settings.py does, of which the
    file replaces each name whole.
    """
    is_in_file = path[:1] in file
    known = file if is_in_file else module
    while path not in known and len(path) > 1:
        path = path[:-1]
    variables = sorted(known.get(path, frozenset()) & environment.keys())
    if variables:
        return f"environment: {', '.join(variables)}"
    return "file" if is_in_file else "default"
