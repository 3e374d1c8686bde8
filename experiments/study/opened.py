"""The study and the store that a command names; `open_study` opens both to look, and not to run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from experiments.errors import UserError
from experiments.progress import log_to_console
from experiments.store import Store, StoreError
from experiments.study.overrides import split, with_settings
from experiments.study.spec import Study, load_study


def shell_line(verb: str, words: Sequence[str], runs: str | None = None) -> str:
    """The shell line of another verb on the study and the store that these words name."""
    more = ["--runs", runs] if runs else []
    return shlex.join(["python", "-m", "experiments", verb, *words, *more])


def read_words(verb: str, words: Sequence[str], runs: str | None) -> tuple[dict[str, str], list[str], str]:
    """Of the words `study=NAME key=value …` and --runs: what they say of the command, the settings for its runs, and
    the folder or URL of records. Raises UserError."""
    own, settings = split(words)
    bare = [word for word in words if "=" not in word]
    if bare or "study" not in own:
        example = "study=NAME key=value …" if verb == "sweep" else "study=NAME"
        raise UserError(f"{bare[0] + ': ' if bare else ''}which study? python -m experiments {verb} {example}")
    if runs and "runs" in own:
        raise UserError(f"the folder of records is given twice: runs={own['runs']} and --runs {runs}")
    return own, settings, own.get("runs") or runs or "runs"


def open_study(verb: str, words: Sequence[str], runs: str | None) -> tuple[Study, Store]:
    """From the words `study=NAME key=value …` and --runs. Raises UserError for every mistake."""
    own, settings, root = read_words(verb, words, runs)
    log_to_console()
    study = with_settings(load_study(own["study"]), settings)
    try:
        store = Store(root)
    except StoreError as error:
        raise UserError(str(error)) from None
    if not store.is_remote and not os.path.isdir(store.root):
        raise UserError(f"there is no folder {root} of records: give it with --runs FOLDER")
    return study, store
