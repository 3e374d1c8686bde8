"""Shell completion: verbs, tasks, groups and their choices, for `experiments` and for `python -m experiments`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from experiments.cli import VERBS, flags
from experiments.listing import catalogue, grids

CHOICES = {"backend": ("jax", "torch"), "dtype": ("float32", "float64")}
KEYS = ("seed=", "budget.flop=", "budget.second=", "budget.joule=", "budget.sample=", "runs=", "targets=", "task.path=")
STUDIES = ("sweep", "report", "status", "watch", "dashboard")  # verbs that take study=NAME
# What may follow a flag besides the choices of its parser; where nothing is offered, the shell offers file names.
VALUES = {"--grid": grids}

BASH = """_experiments() {
    local words start=1
    if [[ ${COMP_WORDS[0]} == *python* ]]; then
        if [[ ${COMP_WORDS[1]} != -m || ${COMP_WORDS[2]} != experiments ]]; then
            COMPREPLY=(); return
        fi
        start=3
    fi
    # "=" breaks words in bash: put the pieces back together, then complete only what follows it.
    local line=${COMP_LINE:0:COMP_POINT} last
    last=${line##* }
    words=("${COMP_WORDS[0]}" -m experiments)
    # In one argument, so that a flag among the words is not taken for one of this command.
    COMPREPLY=($("${words[@]:0:start}" completion bash --words="${line#*experiments }|" 2>/dev/null))
    [[ $last == *=* ]] && COMPREPLY=("${COMPREPLY[@]#${last%%=*}=}")
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
# Where there is nothing to offer (task.path=, or a script of yours after python), file names are.
complete -o default -F _experiments experiments python python3
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + BASH


def script(shell: str) -> str:
    """What the user evaluates in the shell's start-up file."""
    return BASH if shell == "bash" else ZSH


def candidates(words: Sequence[str]) -> list[str]:
    """Completions of the last word, which ends in "|"; the words before it are those already typed."""
    *before, current = " ".join(words).split() or ["|"]
    current = current.rstrip("|")
    if not before:
        return _starting(VERBS, current)
    verb = before[0]
    if verb not in VERBS or verb == "completion":
        return []
    known_flags = flags(verb)
    takes_value = {flag for flag, action in known_flags.items() if action.nargs != 0}

    def values_of(flag: str) -> Sequence[str]:
        return [*(known_flags[flag].choices or VALUES.get(flag, tuple)())]

    key, sign, _ = current.partition("=")
    if before[-1] in takes_value:
        return _starting(values_of(before[-1]), current)
    if sign and key in takes_value:
        return _starting([f"{key}={value}" for value in values_of(key)], current)
    words = [word for last, word in pairwise(before) if last not in takes_value and word not in known_flags]
    named = any("=" not in word for word in words)  # a task, or what to list
    known = catalogue()
    if verb == "list":
        return _starting([*([] if named else known), *known_flags], current)
    tasks = [] if named else known["task"]
    studies = known.pop("study")
    if verb in STUDIES:
        if sign:
            return _starting([f"study={name}" for name in studies], current) if key == "study" else []
        chosen = named or any(word.startswith("study=") for word in words)
        first = [] if chosen else ["study=", *(tasks if verb == "report" else [])]
        return _starting([*first, *known_flags], current)
    if verb == "show":
        if sign:
            return _starting([f"prior={name}" for name in known["prior"]] if key == "prior" else [], current)
        return _starting([*tasks, "prior=", *known_flags], current)
    if verb not in ("run", "check"):
        return _starting(known_flags, current)
    hardware = known.pop("catalogue")
    del known["metric"], known["grid"], known["dysts"]  # no settings
    if sign:
        values = known.get(key) or CHOICES.get(key, ())
        if verb == "check" and key == "device":
            values = [*values, *hardware]
        return _starting([f"{key}={value}" for value in values], current)
    keys = [f"{group}=" for group in (*known, *CHOICES)]
    if verb == "check":
        return _starting([*tasks, *keys, *known_flags], current)
    keys.remove("task=")
    return _starting([*tasks, *keys, *KEYS, *known_flags], current)


def _starting(valid: object, current: str) -> list[str]:
    return [word for word in valid if word.startswith(current)]  # type: ignore[attr-defined]
