"""A user's mistake: shown as one line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What people call these by habit, where the nearest spelling is another thing.
SYNONYMS = {"gpu": "cuda", "pytorch": "torch", "double": "float64", "single": "float32"}


class UserError(Exception):
    """What must hold, what came, and what to do, in one line."""


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """'; did you mean …?' with the nearest valid word, or nothing when none is near."""
    valid = list(valid)
    # A key written without its group (task.n_agents for task.system.n_agents) is nearer than any misspelling.
    endings = [word for word in valid if word.split(".")[-1] == wrong.split(".")[-1]]
    if len(endings) == 1:
        return f"; did you mean {endings[0]}?"
    by_lower = {word.lower(): word for word in valid}
    close = difflib.get_close_matches(wrong.lower(), by_lower, n=1, cutoff=0.5)
    same = SYNONYMS.get(wrong.lower(), "")
    near = same if same in valid else by_lower[close[0]] if close else ""
    return f"; did you mean {near}?" if near else ""
