"""What a model that is made of equations is told of somebody who acts on the system."""

from __future__ import annotations

from dataclasses import replace

from learners.base import Model, TaskInfo
from learners.physics import known_term_names
from physics_models.base import System
from physics_models.interventions import AddAgents, ChangeParameter, Intervention, RemoveAgent
from physics_models.priors.base import Told
from physics_models.under_intervention import Driven


def with_known(system: System) -> System:
    """What is added from outside, told like a term that the system calls known: whoever adds it knows it."""
    if isinstance(system, Driven):  # the class's names are those of no system in particular, so these are its own
        for name in ("term_names", "known_terms"):
            names = [term for term in getattr(system, name) if term != system.extra]
            object.__setattr__(system, name, (*names, system.extra))
    return system


def told_of(told: System, action: Intervention) -> System:
    """What a prior tells of the system that is acted on, with the same mistakes. Raises ValueError if it cannot."""
    if not isinstance(told, Told) or not isinstance(action, ChangeParameter | AddAgents | RemoveAgent):
        return with_known(action.apply(told))
    changed = action.apply(told.truth)
    if isinstance(action, RemoveAgent):  # the law itself, of which more is said than of one that somebody acts on
        changed = replace(told.truth, n_agents=changed.structure.agents)  # type: ignore[call-arg]
    return replace(told, truth=changed)


def told_terms(model: Model, info: TaskInfo) -> tuple[str, ...]:
    """Names of the terms that a model made of equations has."""
    equations = info.system if info.told is None else info.told
    return () if equations is None else known_term_names(equations, getattr(model, "known", "all"))
