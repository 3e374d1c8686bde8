"""A user's mistake: shown as one line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What must hold, what came, and what to do, in one line."""


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """'; did you mean …?' with the nearest valid word, or nothing when none is near."""
    valid = list(valid)
    # A key written without its group (task.n_agents for task.system.n_agents) is nearer than any misspelling.
    endings = [word for word in valid if word.split(".")[-1] == wrong.split(".")[-1]]
    close = endings if len(endings) == 1 else difflib.get_close_matches(wrong, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
