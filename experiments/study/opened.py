"""The study and the store that a command names, as `status`, `watch` and `dashboard` open them: to look, not to run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from experiments.errors import UserError
from experiments.progress import log_to_console
from experiments.store import Store
from experiments.study.overrides import split, with_settings
from experiments.study.spec import Study, load_study


def open_study(verb: str, words: Sequence[str], runs: str | None) -> tuple[Study, Store]:
    """From the words `study=NAME key=value …` and --runs. Raises UserError for every mistake."""
    own, settings = split(words)
    bare = [word for word in words if "=" not in word]
    if bare or "study" not in own:
        raise UserError(f"{bare[0] + ': ' if bare else ''}which study? python -m experiments {verb} study=NAME")
    if runs and "runs" in own:
        raise UserError(f"the folder of records is given twice: runs={own['runs']} and --runs {runs}")
    log_to_console()
    study = with_settings(load_study(own["study"]), settings)
    root = own.get("runs") or runs or "runs"
    root = root if "://" in root else os.path.expanduser(root)
    if "://" not in root and not os.path.isdir(root):
        raise UserError(f"there is no folder {root} of records: give it with --runs FOLDER")
    return study, Store(root)
