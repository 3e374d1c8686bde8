"""Shell completion: verbs, tasks, groups and their choices, for `experiments` and for `python -m experiments`."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.listing import catalogue

VERBS = ("run", "list", "report", "check", "completion")
CHOICES = {"backend": ("jax", "torch"), "dtype": ("float32", "float64")}
KEYS = ("seed=", "budget.flop=", "budget.second=", "budget.joule=", "budget.sample=", "runs=", "targets=", "task.path=")
FLAGS = ("--force", "--json", "--quiet", "--config")
CHECK_FLAGS = ("--calibrate", "--quick", "--grid", "--pue", "--json")

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
    COMPREPLY=($("${words[@]:0:start}" completion bash --words ${line#*experiments } "$last|" 2>/dev/null))
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
    current = words[-1].rstrip("|") if words else ""
    before = [word for word in words[:-1] if word and word != current]
    known = catalogue()
    if not before:
        return _starting(VERBS, current)
    if before[0] == "list":
        return _starting(known, current)
    if before[0] == "report":
        return _starting(known["task"], current)
    if before[0] not in ("run", "check"):
        return []
    hardware = list(known.pop("catalogue"))
    key, sign, _ = current.partition("=")
    if sign:
        values = known.get(key) or CHOICES.get(key, ())
        if before[0] == "check" and key == "device":
            values = [*values, *hardware]
        return _starting([f"{key}={value}" for value in values], current)
    keys = [f"{group}=" for group in dict.fromkeys((*known, *CHOICES)) if group != "metric"]
    if before[0] == "check":
        return _starting([*keys, *CHECK_FLAGS], current)
    keys.remove("task=")
    has_task = any("=" not in word for word in before[1:])
    return _starting([*([] if has_task else known["task"]), *keys, *KEYS, *FLAGS], current)


def _starting(valid: object, current: str) -> list[str]:
    return [word for word in valid if word.startswith(current)]  # type: ignore[attr-defined]
