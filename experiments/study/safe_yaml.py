"""A study file read safely: plain data only, nothing that grows, runs, or acts upon a terminal."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import UserError

MAX_BYTES = 1_000_000  # far beyond any list that a person writes
MAX_DEPTH = 8


def read_text(path: Path) -> str:
    """The file's text. Raises UserError where it cannot be read, is too large, or is no text."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"the study file {path} cannot be read: {error.strerror}") from None
    except ValueError:  # a null byte in its name
        raise UserError(f"the study file {str(path)!r} cannot be read: that is no file name") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"the study file {path} must be at most {MAX_BYTES / 1e6:g} MB, but it is larger")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"the study file {path} must be text in UTF-8, but its byte {error.start} is not") from None


def read(text: str) -> dict[str, Any]:
    """The mapping that a YAML text holds, of plain data: what JSON has too. Raises UserError for anything else."""
    try:
        raw = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        raise UserError(f"it is not YAML: {error.problem}{_line(error.problem_mark)}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"it is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError("its lists and mappings are nested too deeply") from None
    if not isinstance(raw, dict):
        kind = "empty" if raw is None else f"a {type(raw).__name__}"
        raise UserError(f"the file must be a mapping of key: value, but it is {kind}")
    return _plain("the file", raw, 0)


class _Loader(yaml.SafeLoader):
    """Safe, and stricter: no aliases, which can make a small file enormous, and no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*name) are not read{_line(self.peek_event().start_mark)}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = []
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"the key {key.value} is there twice{_line(key.start_mark)}")
            seen.append(key.value)
        return super().construct_mapping(node, deep)


def _line(mark: Any) -> str:
    return f" (line {mark.line + 1})" if mark else ""


def _plain(where: str, value: Any, depth: int) -> Any:
    """Only what JSON has too, and no signs that a terminal or a file system would act upon."""
    if depth > MAX_DEPTH:
        raise UserError(f"{where} is nested too deeply")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise UserError(f"{where} must have words as keys, but there is {key!r}")
            if "\n" in key:  # messages name keys, and are one line
                raise UserError(f"{where} must have keys of one line, but there is {key!r}")
            _plain("a key", key, depth + 1)
        inside = f"{where}." if depth else ""
        return {key: _plain(f"{inside}{key}", item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(where, item, depth + 1) for item in value]
    if isinstance(value, str):
        if any((ord(sign) < 32 and sign not in "\n\t") or 127 <= ord(sign) < 160 for sign in value):
            raise UserError(f"{where} must not hold control characters, but it is {value!r}")
        if "${" in value:
            raise UserError(f"{where} must not refer to other settings by ${{…}}, but it is {value!r}")
        return number(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where} must be finite, but there is {value}")
    if not isinstance(value, bool | int | float | None):
        raise UserError(f"{where} must be text or a number, but it is a {type(value).__name__} ({value})")
    return value


def number(text: str) -> str | int | float:
    """Numbers as 1e10 and 1e-4, which have no point and are therefore text in YAML; anything else is left as it is."""
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d{1,2}", text):
        return int(text.lower().split("e")[0]) * 10 ** int(text.lower().split("e")[1]) if _whole(text) else float(text)
    return text


def _whole(text: str) -> bool:
    return re.fullmatch(r"\d+[eE]\+?\d{1,2}", text) is not None
