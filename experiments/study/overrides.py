"""Settings that the command line adds to a study: they make it another study, and its hash says so.

The device is an exception where the study does not name one itself: it is then run wherever it is run, and every record
says where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from experiments.errors import UserError
from experiments.study.spec import Study, parse

ELSEWHERE = ("runs", "tracking", "tracking.mode", "tracking.project", "study")  # they change no result


def with_settings(study: Study, words: Sequence[str]) -> Study:
    """The study with key=value for every run. Raises UserError for a key that its grid varies."""
    words = [word for word in words if word != device_word(study, words)]
    if not words:
        return study
    raw: dict[str, Any] = yaml.safe_load(study.text)
    settings = dict(raw.get("settings") or {})
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key or not text:
            raise UserError(f"{word} cannot be read as key=value")
        if any(key in block for block in study.grid):
            raise UserError(f"{word}: the study varies {key} itself; change its grid, or leave {key} out")
        try:
            settings[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"{word} cannot be read as key=value: look at its brackets and quotes") from None
    return parse(study.name, yaml.safe_dump({**raw, "settings": settings}, sort_keys=False, allow_unicode=True))


def device_word(study: Study, words: Sequence[str]) -> str | None:
    """The word device=NAME, where it is not a setting of the study but only says where to run it."""
    found = [word for word in words if word.startswith("device=")]
    if len(found) > 1:
        raise UserError(f"device is given twice: {' and '.join(found)}")
    return found[0] if found and not study.values("device") else None


def split(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """What the command says of itself (study=, runs=, tracking=), and what it says of the runs."""
    own: dict[str, str] = {}
    rest = []
    for word in words:
        key, _, value = word.partition("=")
        if key in ELSEWHERE:
            if key in own:
                raise UserError(f"{key} is given twice: {own[key]} and {value}")
            own[key] = value
        else:
            rest.append(word)
    return own, rest
