"""What the verb `show` does: reads the words, simulates, draws, and says what it drew."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import detection
from experiments.config import Settings, load
from experiments.config_tree import REAL_DATA, nearest_key, task_names
from experiments.errors import UserError
from experiments.progress import Reporter, log_to_console, terminal_width
from experiments.show.scene import Scene, scene_of, told_apart
from experiments.show.told import DELTAS, KINDS, Told, told_errors
from experiments.show.words import description, title
from hardware.devices import quieten_libtpu

TAKEN = ("task", "prior", "experiment")  # the groups of settings that say something of a task


def show(words: Sequence[str], out: str, form: str, seconds: float, fps: int, quiet: bool = False) -> Path:
    """Draw what the words name into the folder `out`. Raises UserError for what cannot be."""
    from experiments.show.film import check, film
    from experiments.show.picture import draw

    log_to_console()
    quieten_libtpu()
    if form in ("gif", "mp4"):
        check(form, seconds, fps)  # mistakes are told before any work is done
    settings = _settings(words)
    chosen, deltas = _chosen(settings.tree["prior"]), tuple(sorted({*DELTAS, settings.tree["prior"]["delta"]}))
    report = Reporter(quiet)
    folder = _folder(out)
    path = folder / f"{_stem(settings)}.{form}"
    changed = [word for word in words if "." in word.partition("=")[0] and "=" in word]
    if settings.task_name == detection.NAME:
        return _groups(settings, changed, path, form, report)
    own = settings.task_name == REAL_DATA
    report.say(f"{settings.task_name}: {'reading the file' if own else 'simulating (or finding it in the cache)'}")
    scene = scene_of(settings)
    scene.notes[:0] = changed
    told: list[Told] = []
    try:
        if form in ("gif", "mp4"):
            report.say("drawing the film")
            film(scene, title(scene), path, seconds, fps)
        else:
            if not told_apart(scene):
                report.say("solving what wrong priors tell")
                told = _told(scene, chosen, deltas)
            report.say("drawing")
            draw(scene, told, title(scene), path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    print(description(scene, told, terminal_width()))
    print(f"\n{path}")
    return path


def _stem(settings: Settings) -> str:
    """The name of the picture's file, of the user's own data with that of theirs."""
    name = settings.task_name.replace("/", "-")
    if settings.task_name != REAL_DATA:
        return name
    stem = Path(Path(settings.tree["task"]["path"]).name.removesuffix(".gz")).stem
    return "-".join(filter(None, (name, re.sub(r"[^\w.-]+", "-", stem)[:60].strip(".-"))))  # a name may be 255 bytes


def _groups(settings: Settings, changed: Sequence[str], path: Path, form: str, report: Reporter) -> Path:
    from experiments.main_job import load_task
    from experiments.show.groups import description, draw

    if form in ("gif", "mp4"):
        raise UserError(f"--format must be png or svg for {settings.task_name}, but it is {form}")
    task = load_task(settings, report)
    try:
        draw(task, path, "; ".join(changed))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    print(f"{description(task)}\n\n{path}")
    return path


def _settings(words: Sequence[str]) -> Settings:
    tasks = [word for word in words if "=" not in word]
    given = [word for word in words if "=" in word]
    if "" in tasks or not (tasks or any(word.startswith(("task=", "experiment=")) for word in given)):
        raise UserError("which task? python -m experiments show TASK …; python -m experiments list task names them")
    if len(tasks) > 1:
        wrong = [word for word in tasks if word not in task_names()]
        hint = f"; {wrong[0]} is neither a task nor key=value{nearest_key(wrong[0], given)}" if wrong else ""
        raise UserError(f"show draws one task, but there are {len(tasks)}: {', '.join(tasks)}{hint}")
    for word in given:
        if word.partition("=")[0].partition(".")[0] not in TAKEN:
            raise UserError(f"{word}: show takes settings of the task and of the prior only (task.…, prior…)")
    # A model that is told a prior, so that the prior's settings are checked as for a run.
    return load(tasks[0] if tasks else None, ["model=hybrid_ode", *given])


def _chosen(prior: Mapping[str, Any]) -> dict[str, dict[str, Any]] | None:
    """The options of the kind of prior that the settings name; None where they name none, and every kind is shown."""
    if prior["kind"] == "default":
        return None
    if prior["kind"] not in KINDS:
        raise UserError(f"prior={prior['kind']} has no dial to show: choose one of {', '.join(KINDS)}")
    return {prior["kind"]: {k: v for k, v in prior.items() if k not in ("kind", "delta") and v is not None}}


def _told(scene: Scene, chosen: Mapping[str, Mapping[str, Any]] | None, deltas: tuple[float, ...]) -> list[Told]:
    assert scene.system is not None and scene.protocol is not None
    truth = scene.y
    if scene.protocol.process_noise:  # told equations are followed without chance, so the truth is too
        from physics_models.simulate import simulate

        truth = simulate(scene.system, scene.y[:, 0], scene.times).y
    return told_errors(scene.system, scene.times, truth, chosen, deltas)


def _folder(out: str) -> Path:
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out must be a folder that can be written, but {out} is not: {error.strerror}") from None
    return folder
