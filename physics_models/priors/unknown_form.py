from __future__ import annotations

from dataclasses import dataclass

from physics_models.base import System
from physics_models.priors.base import Prior, choose


@dataclass(frozen=True)
class UnknownForm(Prior):
    """No term at all, only the form of the field; the network of a hybrid model then takes that form.

        pairwise      a sum over pairs of agents of forces along their separation and their relative velocity, which
                      depend on nothing but distances, speeds and the angle between them: equivariant under permutation,
                      rotation, reflection and translation. The rates of positions are the velocities where the
                      system is of second order.
        hamiltonian   dq/dt = dH/dp, dp/dt = -dH/dq with an unknown energy H, which every solution conserves.

    `form` names it; by default it is the first of these that the system has. A form is told or it is not: delta must
    be 0. Other structure (equivariance without pairs, a conserved energy without canonical coordinates) has no network
    here, and is refused.
    """

    form: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta:
            raise ValueError(
                f"delta must be 0 for prior=unknown_form, whose form is told or is not, but it is {self.delta:g}"
            )

    def told_form(self, system: System) -> str:
        found = forms_of(system)
        if not found:
            raise ValueError(
                f"{type(system).__name__} has no form that a network takes here: it is neither of pairs of agents "
                "whose law is that of every place, direction and order, nor canonical with a conserved energy"
            )
        return choose("form", self.form, found, found[0])

    def check(self, system: System) -> None:
        self.told_form(system)

    def term_names(self, system: System) -> tuple[str, ...]:
        return ()

    def values(self, system: System) -> dict[str, float]:
        return {}


def forms_of(system: System) -> list[str]:
    """The forms that are true of a system."""
    structure, found = system.structure, []
    alike = {"translation", "rotation", "reflection", "permutation"} <= set(structure.symmetries)
    # The state is positions (and velocities) and nothing else, which a pair could depend on.
    plain = structure.agents is not None and len(system.variables) == structure.space_dim * structure.order
    if structure.pairwise and alike and plain and structure.order in (1, 2):
        found.append("pairwise")
    paired = sorted(name for pair in structure.canonical for name in pair)
    if paired and paired == sorted(system.variables) and "energy" in structure.conserved:
        found.append("hamiltonian")
    return found
