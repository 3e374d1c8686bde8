"""The records of one study as columns: what the verdict, the tables, the figures and the page are made from.

Columns and not records, so that a million runs are a few arrays. `experiments` fills them from a store.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from experiments.record import FINISHED
from reports.floors import FITTED, HARD, SOFT, Floors

# The costs that errors are compared at, by the name of their column in `points`. "tuned_…" charges every trial.
AXES = {
    "flop": ("training FLOP", "FLOP"),
    "tuned_flop": ("training FLOP, tuning charged", "FLOP"),
    "energy_j": ("training energy", "J"),
    "tuned_energy_j": ("training energy, tuning charged", "J"),
    "seconds": ("training time", "s"),
    "samples": ("training samples", "windows"),
}


@dataclass(frozen=True)
class Hypothesis:
    """What somebody expected before the study ran. `text` is theirs; the rest, where given, can be checked:
    `says`, one of `reports.verdict.SAYS`, of `structured` against `black_box` on `task` along `axis`."""

    text: str
    task: str = ""
    structured: str = ""
    black_box: str = ""
    axis: str = "flop"
    says: str = ""


@dataclass(frozen=True)
class StudyData:
    """A study and its records. A table's columns are equally long; text is in object arrays, an unknown number NaN.

    `name`, `hash`: of the study and its file; `hashes`: those of the file when the runs joined, more than one where it
    was changed in between. `metric`: the error that is compared, a column "test.<metric>" of `points`.
    `structured`, `black_box`: models whose comparison was declared; `references`: rows that every comparison shows.
    `parts`: models that are some runs of another, as "hybrid_ode (hard)" of "hybrid_ode" (see `parted`).
    `targets`: errors whose cost is asked for. `planned`: how many runs the study has, finished or not.
    `tuning`: what all trials cost together, each counted once however many runs it chose for: "trials", "flop",
    "energy_j", "seconds"; empty where nobody counted.
    `floors`: what the runs were told and how wrong that is; None where none was told a prior.

    `runs`, one entry a run (tuning trials are not among them), or several where it stands for several conditions: a
    setting that a model does not have, such as a prior's fidelity, is no condition of its runs, which are compared
    under each of its values (see `spread`). Whoever counts runs counts `distinct()`:
        identity, task, condition, model, configuration, status, reason, role, backend, device, device_name,
        energy_method, started, command (text); seed, draw (data_seed), parameters (N), data (D: training windows),
        train_flop, train_energy_j, train_seconds, tune_flop, tune_energy_j, tune_seconds, tune_trials,
        tune_flop_unknown, … (trials whose cost is not known: what is charged is then a lower bound),
        infer_flop_per_time_unit, infer_energy_j_per_time_unit, infer_seconds_per_time_unit, peak_memory_bytes,
        shared_by, uncounted (1 where FLOP are a lower bound) and "metrics.<name>" (numbers).
        `condition`: what sets the task of a verdict apart besides its name, as "noise=0.1", or "".
        `configuration`: what sets the run apart from others of its task, condition and model, seeds and data draws
        left out, as "width=64 n_train=512".
    `points`, one entry a point of a run's curve: run (index into `runs`), step, samples, flop, seconds, energy_j,
        tuned_flop, tuned_energy_j, tuned_seconds, error (on validation data), "test.<name>".
    """

    name: str
    hash: str
    runs: dict[str, np.ndarray]
    points: dict[str, np.ndarray]
    question: str = ""
    hypotheses: tuple[Hypothesis, ...] = ()
    metric: str = "one_step_nrmse"
    structured: tuple[str, ...] = ()
    black_box: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    targets: tuple[float, ...] = ()
    hashes: tuple[str, ...] = ()
    planned: int = 0
    tuning: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    floors: Floors | None = None
    parts: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.runs["identity"])

    def distinct(self) -> np.ndarray:
        """Indices of the runs, each once, whatever number of conditions it stands for: those of its first entry."""
        identities = self.runs["identity"].tolist()
        if len(set(identities)) == len(identities):
            return np.arange(len(identities))
        first = dict(zip(reversed(identities), range(len(identities) - 1, -1, -1), strict=True))
        return np.sort(np.fromiter(first.values(), dtype=np.int64, count=len(first)))

    def tasks(self) -> list[tuple[str, str]]:
        """Every (task, condition), sorted."""
        return sorted(set(zip(self.runs["task"], self.runs["condition"], strict=True)))

    def of(self, task: str, condition: str = "", model: str | None = None) -> np.ndarray:
        """Indices of the runs of a task, and of one of its models where that is given."""
        chosen = (self.runs["task"] == task) & (self.runs["condition"] == condition)
        if model is not None:
            chosen &= self.runs["model"] == model
        return np.flatnonzero(chosen)


NO_NETWORK = {"network=false", "model.network=false"}  # in a configuration


def parted(data: StudyData) -> StudyData:
    """The study with a model of its own for runs of a structured model that learn less than others of it do.

    What is learned is no size, over which a law could be fitted. Runs that train nothing, where others train, become
    "hybrid_ode (hard)", a level like the references; runs that fit parameters without a network, where others have one,
    "hybrid_ode (fitted)", a structured model beside its own. All other runs keep their model's name.
    """
    names, parts = data.runs["model"].copy(), dict[str, str]()
    structured, levels = list[str](), list[str]()
    for model in data.structured:
        mine = np.flatnonzero(data.runs["model"] == model)
        kinds = _learned(data, mine)
        whole = next((how for how in (SOFT, FITTED) if (kinds == how).any()), HARD)
        structured.append(model)
        for how, listed in ((FITTED, structured), (HARD, levels)):
            if how != whole and (kinds == how).any():
                part = f"{model} ({how})"
                names[mine[kinds == how]] = part
                parts[part] = model
                listed.append(part)
    if not parts:
        return data
    references = (*levels, *data.references)
    return replace(
        data, runs=data.runs | {"model": names}, structured=tuple(structured), references=references, parts=parts
    )


def _learned(data: StudyData, mine: np.ndarray) -> np.ndarray:
    """Of these runs of one model: HARD, FITTED or SOFT, the same for all of one configuration. One none of which
    finished may have had no model built, and so no parameters."""
    seen: dict[str, int] = {}
    names = data.runs["configuration"][mine].tolist()
    number = np.fromiter((seen.setdefault(name, len(seen)) for name in names), dtype=np.int64, count=len(mine))
    trained = np.bincount(number, data.runs["parameters"][mine] > 0, len(seen)) > 0
    finished = np.bincount(number, data.runs["status"][mine] == FINISHED, len(seen)) > 0
    bare = np.array([bool(NO_NETWORK & set(name.split())) for name in seen], dtype=bool)
    hard = ~trained & (bare | finished)
    return np.where(hard, HARD, np.where(bare, FITTED, SOFT))[number]


Places = tuple[np.ndarray, list[tuple[str, str]]]


def spread(
    runs: dict[str, np.ndarray], points: dict[str, np.ndarray], places: Places | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Both tables with a run entered once for every condition that its own is a part of, as "noise=0" is of
    "fidelity=0.1 noise=0"; its points with it. Conditions of one task that do not contradict each other are joined:
    "depth=2" of one model and "fidelity=0.1" of another meet under "depth=2 fidelity=0.1". Where nothing is to be
    spread, both tables come back as they are.

    `places`: (numbers, list), where the caller has them: of each run the number of its (task, condition) in the list.
    """
    if places is None:
        listed = list(zip(runs["task"].tolist(), runs["condition"].tolist(), strict=True))
        seen: dict[tuple[str, str], int] = {}
        numbers = np.fromiter((seen.setdefault(p, len(seen)) for p in listed), dtype=np.int64, count=len(listed))
        places = numbers, list(seen)
    number, names = places
    wider = _wider(names)
    if all(wider[task, condition] == [condition] for task, condition in names):
        return runs, points
    under = [wider[place] for place in names]
    many = np.array([len(conditions) for conditions in under])
    copies = many[number]
    rows = np.repeat(np.arange(len(number)), copies)
    spread_runs = {name: column[rows] for name, column in runs.items()}
    conditions = np.array([condition for several in under for condition in several], dtype=object)
    first = np.cumsum(copies) - copies  # of each run, its first entry
    nth = np.arange(len(rows)) - first[rows]
    spread_runs["condition"] = conditions[(np.cumsum(many) - many)[number[rows]] + nth]
    # The points of a run as often as the run, those of each entry after one another.
    of = points["run"].astype(np.int64)
    times = copies[of]
    taken = np.repeat(np.arange(len(of)), times)
    entry = first[of[taken]] + np.arange(len(taken)) - np.repeat(np.cumsum(times) - times, times)
    order = np.argsort(entry, kind="stable")
    taken, entry = taken[order], entry[order]
    return spread_runs, {name: column[taken] for name, column in points.items()} | {
        "run": entry.astype(points["run"].dtype)
    }


def _wider(places: list[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Of every (task, condition): the largest conditions of the task that it is a part of, sorted."""
    tasks: dict[str, dict[frozenset[str], str]] = {}
    for task, condition in places:
        tasks.setdefault(task, {}).setdefault(frozenset(condition.split()), condition)
    found = {}
    for task, own in tasks.items():
        largest = _joined(own)
        for words, condition in own.items():
            found[task, condition] = sorted(name for wide, name in largest.items() if words <= wide)
    return {place: found.get(place, [place[1]]) for place in places}


def _joined(own: dict[frozenset[str], str]) -> dict[frozenset[str], str]:
    """The conditions of one task, as sets of "key=value", joined as far as no key has two values; only the largest."""
    if len({frozenset(word.partition("=")[0] for word in words) for words in own}) == 1:
        return own  # of the same keys, they all contradict each other
    joined, new = set(own), list(own)
    while new:
        one = new.pop()
        for other in own:
            both = one | other
            if both not in joined and len({word.partition("=")[0] for word in both}) == len(both):
                joined.add(both)
                new.append(both)
    largest = [words for words in joined if not any(words < other for other in joined)]
    return {words: own.get(words, " ".join(sorted(words))) for words in largest}
