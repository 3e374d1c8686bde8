"""What the parts of a study file must be to each other, and to what exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.config_tree import task_names
from experiments.errors import UserError, nearest
from experiments.metrics.discovery import metrics
from learners.discovery import models
from reports.study import AXES, Hypothesis

if TYPE_CHECKING:
    from experiments.study.spec import Study

DEFAULT_SEEDS = (0, 1, 2)  # those of configs/config.yaml


def check_names(study: Study) -> None:
    """Every name must be one that exists, and every model that is compared one of the grid."""
    for where in ("task", "model"):
        valid = task_names() if where == "task" else models.names()
        for block in study.grid:
            if where not in block and where not in study.settings and "experiment" not in {*block, *study.settings}:
                raise UserError(f"which {where}? Add {where}: [NAME] to the grid")
        for name in study.values(where):
            if "/" not in str(name):  # a member of a family is looked up when the plan is made
                _one_of(f"grid.{where}", name, valid)
    for name in study.references:
        _one_of("references", name, models.names())
    if len(budgets := study.values("budget")) > 1:
        each = ", ".join(map(str, budgets))
        raise UserError(f"budget must be one currency, in which models are matched, but it is {each}")
    in_grid = study.values("model")
    for where in ("structured", "black_box"):
        for name in getattr(study, where):
            if name not in in_grid:
                raise UserError(
                    f"{where} must be models of the grid ({', '.join(in_grid)}), but there is {name}"
                    f"{nearest(name, in_grid)}"
                )
    for name in study.structured:
        if name in study.black_box:
            raise UserError(f"a model is structured or a black box, but {name} is both")
    known = metrics.names()
    errors = [name for name in known if _is_error(metrics.load(name))]
    if study.metric not in errors:
        what = "is no error that falls with cost" if study.metric in known else "is unknown"
        raise UserError(
            f"metric must be one of {', '.join(errors)}, but {study.metric} {what}{nearest(study.metric, errors)}"
        )


def _is_error(metric: Any) -> bool:
    return metric.direction == "lower" and getattr(metric, "along_curve", True)


def check_tuning(study: Study) -> None:
    """Seeds must be seeds, and tuning must not touch what the study itself sets."""
    seeds = [s for value in study.values("seed") for s in (value if isinstance(value, tuple) else (value,))]
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise UserError(f"seed must be whole numbers from 0 to 4294967295, but there is {seed!r}")
    if study.tuning is None:
        return
    if study.tuning.seed in (seeds or DEFAULT_SEEDS):
        raise UserError(f"tuning.seed must not be a seed of the runs, which trials are not, but {study.tuning.seed} is")
    for key in study.tuning.keys:
        if key in study.settings or any(key in block for block in study.grid):
            raise UserError(f"{key} must be tuned, or stand in settings or grid, but not both")
    if not study.compared:
        raise UserError("tuning is for the models that are compared: name them in structured and black_box")


def shared_out(
    study: Study, scale: tuple[str, ...] | None, conditions: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The axes over which the frontier is taken, and those whose every value has a verdict; None is not given."""
    valid = [key for key in study.varied if not key.startswith(("training.", "budget."))]
    for where, given in (("scale", scale), ("conditions", conditions)):
        for key in given or ():
            if key not in valid:
                axes = f"axes of the grid with several values ({', '.join(valid) or 'there are none'})"
                raise UserError(f"{where} must be {axes}, but there is {key}{nearest(key, valid)}")
    conditions = conditions or ()
    if scale is None:
        scale = tuple(k for k in valid if (k.startswith("model.") or k == "task.n_train") and k not in conditions)
    for key in conditions:
        if key in scale:
            raise UserError(f"{key} must be in scale or in conditions, but it is in both")
    return scale, tuple(key for key in valid if key not in scale)


def check_hypotheses(study: Study) -> None:
    """Where a hypothesis can be checked, what it names must be what the study compares."""
    for i, hypothesis in enumerate(study.hypotheses):
        _check_hypothesis(f"hypotheses[{i}]", hypothesis, study)


def _check_hypothesis(where: str, hypothesis: Hypothesis, study: Study) -> None:
    tasks = study.values("task")
    if hypothesis.task and tasks:
        _one_of(f"{where}.task", hypothesis.task, tasks)
    for role in ("structured", "black_box"):
        if name := getattr(hypothesis, role):
            _one_of(f"{where}.{role}", name, getattr(study, role))
    _one_of(f"{where}.axis", hypothesis.axis, list(AXES))
    if hypothesis.says:
        from reports.verdict.types import SAYS  # half a second, and only needed here

        _one_of(f"{where}.says", hypothesis.says, SAYS)


def _one_of(where: str, value: Any, valid: Sequence[str]) -> None:
    if value not in valid:
        raise UserError(f"{where} must be one of {', '.join(valid)}, but it is {value!r}{nearest(str(value), valid)}")
