"""Python source as a syntax tree, whatever other threads are doing."""

from __future__ import annotations

import ast
import time


def parse(source: str | bytes) -> ast.Module:
    """As `ast.parse`, while other threads do the same.

    CPython 3.11 keeps the depth of the tree under construction in one place for all threads, and raises SystemError
    ("recursion depth mismatch") when another thread, such as the one that imports W&B, comes in between.
    """
    for _ in range(100):
        try:
            return ast.parse(source)
        except SystemError:
            time.sleep(0.01)
    return ast.parse(source)


def canonical(source: str | bytes) -> str:
    """The syntax of a source as text, without docstrings: comments, layout and documentation may change freely."""
    tree = parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
