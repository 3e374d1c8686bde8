"""`show`: what is drawn of a task, what wrong priors make of it, and what cannot be shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.config import load
from experiments.errors import UserError
from experiments.show.film import check, film
from experiments.show.measures import measures
from experiments.show.motion import form
from experiments.show.panels import draw_series
from experiments.show.picture import draw
from experiments.show.scene import Scene, scene_of
from experiments.show.told import DELTAS, KINDS, SideBySide, told_errors
from experiments.show.words import description
from physics_models import cache
from physics_models.cache import initial_states
from physics_models.discovery import systems
from physics_models.priors.missing_term import MissingTerm
from physics_models.priors.parameters import Parameters
from physics_models.priors.wrong_symmetry import WrongSymmetry


def drawn(name: str, **options: Any) -> Scene:
    """A scene whose states only look like a system's: a smooth wobble about two true starts."""
    system = systems.load(name)(**options)
    times = np.linspace(0, 5, 21)
    start = initial_states(system, 0, 2)[:, None]
    wobble = 1 + 0.1 * np.sin(times).reshape(1, -1, *(1,) * (start.ndim - 2))
    return Scene(name, times, start * wobble, system.variables, system)


# -- On the command line -----------------------------------------------------------------------------------------------


def test_a_picture_with_its_priors_and_what_is_known_of_the_task(
    here: Callable[..., Any], by_numpy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.show.scene.POINTS", 50)
    done = here("show", "pendulum", "task.horizon=2", "--out", "pictures", "task.system.damping=0")
    assert done.code == 0, done.err
    path = Path("pictures/pendulum.png")
    assert path.read_bytes()[:4] == b"\x89PNG" and done.out.splitlines()[-1] == str(path)
    assert "d velocity/dt = - gravity * sin(angle)" in done.out
    assert "inertia (known)" in done.out and "conserved:  energy" in done.out and "damping 0" in done.out
    rows = {
        line.split()[0]: line.split()[1:6] for line in done.out.splitlines() if line.split()[:1] and line[2:3] != " "
    }
    for kind in KINDS:
        exact, *wrong = map(float, rows[kind])
        assert exact < 1e-5 < wrong[0] < wrong[-1]  # 1e-5: the stand-in's own rule, on two different sets of times


def test_a_map_has_its_picture_without_priors(here: Callable[..., Any]) -> None:
    """And every number that its equation has is said: those that no fit adjusts, too."""
    done = here("show", "vicsek", "task.horizon=10", "--format", "svg", "--out", ".")
    assert done.code == 0, done.err
    text = Path("vicsek.svg").read_text()
    assert "polarisation" in text and "No prior is shown: vicsek steps in time" in text
    assert "parameters: speed 0.1\noptions:    n_agents 20, box 4, radius 1, noise 0.3\n" in done.out
    assert "parameters: speed 0.1; options: n_agents 20, box 4, radius 1, noise 0.3" in text


def test_a_delta_of_ones_own_is_drawn_beside_the_others(
    here: Callable[..., Any], by_numpy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.show.scene.POINTS", 20)
    words = ["spring", "task.horizon=1", "prior=parameters", "prior.delta=0.2"]
    done = here("show", *words, "--format=svg", "--out=.")
    assert done.code == 0, done.err
    text = Path("spring.svg").read_text()
    assert text.count("δ = 0.2 (asked for)") == 1 and "δ = 0.1<" in text
    *_, head, row = (line for line in done.out.splitlines() if line.strip().startswith(("δ", "parameters ")))
    assert [float(word) for word in head.replace("δ = ", "").split()] == [0, 0.01, 0.03, 0.1, 0.2, 0.3]
    errors = [float(word) for word in row.split()[1:7]]
    assert errors == sorted(errors)


def test_the_picture_of_flock_detection_says_what_was_changed(
    monkeypatch: pytest.MonkeyPatch, here: Callable[..., Any], by_numpy: None
) -> None:
    monkeypatch.setattr("physics_models.strangers.simulate", lambda *given, **more: cache.simulate(*given, **more))
    sizes = ["task.system.n_agents=3", "task.n_train=4", "task.n_val=2", "task.n_test=8", "task.horizon=0.2"]
    done = here("show", "flock_detection", *sizes, "--format=svg", "--out=.")
    assert done.code == 0, done.err
    text = Path("flock_detection.svg").read_text()
    for words in ("task.system.n_agents=3; task.n_train=4", ">polarisation<", "distance (length units)"):
        assert words in text


# -- The user's own data -----------------------------------------------------------------------------------------------


def show_own(here: Callable[..., Any], y: np.ndarray, variables: list[str], name: str = "my.npz") -> tuple[Any, str]:
    """What `show` says of a file of arrays, and the text of its picture."""
    np.savez(name, times=np.arange(y.shape[1]), y=y, variables=variables)
    done = here("show", "trajectories", f"task.path={name}", "--format=svg", "--out=pictures")
    assert done.code == 0, done.err
    return done, Path(done.out.splitlines()[-1]).read_text()


def test_own_agents_are_drawn_in_their_plane(here: Callable[..., Any]) -> None:
    """Wherever the file has their positions and velocities, which come first for all who draw."""
    y = np.random.default_rng(0).normal(size=(2, 9, 5, 5))
    done, text = show_own(here, y, ["mass", "vx", "Y", "X", "vy"])
    assert "9 points of 5 variables of 5 agents" in done.out
    assert [f"agent {k}" in text for k in range(1, 7)] == [True] * 5 + [False]
    settings = load("trajectories", ["task.path=my.npz", "model=linear"])
    scene = scene_of(settings)
    assert scene.variables == ("X", "Y", "vx", "vy", "mass") and scene.structure.order == 2
    assert scene.bodies is not None and form(scene) == "space"
    np.testing.assert_array_equal(scene.bodies, y[0][..., [3, 2, 1, 4, 0]])


@pytest.mark.parametrize("agents", [1, 8])
def test_own_agents_without_a_plane_are_a_line_each(agents: int, here: Callable[..., Any]) -> None:
    y = np.random.default_rng(0).normal(size=(2, 9, agents, 2))
    _, text = show_own(here, y, ["x", "v"])
    assert "a   Variables" in text and "Motion" not in text
    assert ("6 of 8 agents" in text) == (agents == 8)
    scene = scene_of(load("trajectories", ["task.path=my.npz", "model=linear"]))
    figure = Figure()
    draw_series(figure, scene)
    for k, axes in enumerate(figure.axes):
        drawn_lines = np.stack([line.get_ydata() for line in axes.lines], axis=-1)
        np.testing.assert_array_equal(drawn_lines, y[0, :, :6, k])


def test_one_variable_is_drawn_once(here: Callable[..., Any]) -> None:
    done, text = show_own(here, np.sin(np.arange(12.0)).reshape(1, 12, 1), ["height"])
    assert "12 points of 1 variable\n" in done.out
    assert "Motion" not in text and text.count(">height<") == 1
    assert "reading the file" in done.err and "simulating" not in done.err


def test_each_file_has_its_own_picture_inside_the_folder(
    here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.show.picture.draw", lambda scene, told, title, path: path.touch())
    y = np.random.default_rng(0).normal(size=(2, 9, 2))
    done = [show_own(here, y, ["a", "b"], name)[0] for name in ("one.npz", "../ötwo $(x).v2.npz", "...npz")]
    assert [Path(d.out.splitlines()[-1]) for d in done] == [
        Path("pictures") / name for name in ("trajectories-one.svg", "trajectories-ötwo-x-.v2.svg", "trajectories.svg")
    ]
    assert len(list(Path("pictures").iterdir())) == 3


@pytest.mark.parametrize(
    ("times", "y"),
    [(np.zeros((0, 5)), np.zeros((0, 5, 2))), (np.arange(4.0), 1.2e308 * np.array([1.0, -1, 1, -1]).reshape(1, 4, 1))],
    ids=["nothing", "too large to draw"],
)
def test_data_that_cannot_be_drawn_are_refused(times: np.ndarray, y: np.ndarray, here: Callable[..., Any]) -> None:
    np.savez("my.npz", times=times, y=y)
    done = here("show", "trajectories", "task.path=my.npz")
    assert done.code == 2 and done.err.splitlines()[-1].startswith("error: my.npz: ")


def test_a_film_of_a_data_file(here: Callable[..., Any]) -> None:
    """With no equation, and with gaps in time that no simulation has."""
    Path("my.csv").write_text("time,x,v\n" + "".join(f"{i**1.1},{i % 7},{i % 5}\n" for i in range(30)))
    done = here("show", "trajectories", "task.path=my.csv", "--format=gif", "--seconds=0.5", "--fps=8", "--out=.")
    assert done.code == 0, done.err
    from PIL import Image

    with Image.open("trajectories-my.gif") as found:
        assert getattr(found, "n_frames", 1) == 4
    assert "equations are not known" in done.out and "parameters" not in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which task?"),
        (["vicsec"], "did you mean vicsek?"),
        (["dysts/Aizaw"], "Aizawa"),
        (["vicsek", "pendulum"], "show draws one task, but there are 2"),
        (["pendulum", "model=mlp"], "show takes settings of the task and of the prior only"),
        (["pendulum", "task.system.gravity=-1"], "task.system.gravity must be above 0"),
        (["pendulum", "task.system.dampin=1"], "did you mean task.system.damping?"),
        (["pendulum", "--seconds=3"], "--seconds and --fps are of a film"),
        (["pendulum", "--format=gif", "--fps=0"], "--fps must be above 0"),
        (["pendulum", "--format=gif", "--seconds=-1"], "--seconds must be above 0"),
        (["pendulum", "--format=gif", "--seconds=1000"], "a film must have 2 to"),
        (["pendulum", "--format=jpg"], "invalid choice"),
        (["flocking", "prior=unknown_form"], "no dial to show"),
        (["flock_detection", "prior=parameters"], "task=flock_detection asks about tracks"),
        (["pendulum", "prior=missing_term", "prior.term=gravit"], "did you mean gravity?"),
        (["trajectories", "task.path=nowhere.csv"], "nowhere.csv"),
        (["pendulum", "--out", "/dev/null/x"], "--out must be a folder"),
    ],
)
def test_mistakes_are_told_in_one_line(
    words: list[str], message: str, here: Callable[..., Any], by_numpy: None
) -> None:
    done = here("show", *words)
    assert done.code == 2 and message in done.err
    assert done.err.splitlines()[-1].startswith("error: ") and "Traceback" not in done.err


def test_mp4_needs_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.animation.writers.is_available", lambda name: False)
    with pytest.raises(UserError, match=r"--format mp4 needs the program ffmpeg.*--format gif"):
        check("mp4", 6, 15)
    check("gif", 6, 15)


# -- What wrong priors make of a system --------------------------------------------------------------------------------


def test_side_by_side_is_each_of_its_equations() -> None:
    system = systems.load("flocking")(n_agents=3)
    told = (Parameters(0.1).tell(system), MissingTerm(0.3).tell(system), WrongSymmetry(0.2).tell(system))
    both = SideBySide(system, told)
    y = np.stack([initial_states(system, k, 2) for k in range(3)])
    found = both.field(0.3, np.concatenate(list(y), axis=-1))
    for k, one in enumerate(told):
        np.testing.assert_array_equal(found[..., 4 * k : 4 * k + 4], one.field(0.3, y[k]))


def test_side_by_side_of_a_field_is_each_of_its_equations_whatever_is_taken_exactly() -> None:
    """Told linear terms are split off and come back: the sum is the told field to rounding of its stiffest term."""
    system = systems.load("kuramoto_sivashinsky")(n_points=16, length=11.0, n_modes=2)
    told = (Parameters(0.1).tell(system), WrongSymmetry(0.2).tell(system))
    both = SideBySide(system, told)
    assert told[1].linear_multiplier() is None  # borrows the truth's
    multiplier = both.linear_multiplier()
    assert multiplier is not None
    np.testing.assert_array_equal(multiplier[..., :1], told[0].linear_multiplier())
    np.testing.assert_array_equal(multiplier[..., 1:], system.linear_multiplier())
    y = initial_states(system, 0, 2)
    found = both.field(0.0, np.concatenate([y, y], axis=-1))
    for k, one in enumerate(told):
        np.testing.assert_allclose(found[..., k : k + 1], one.field(0.0, y), atol=1e-12 * np.abs(multiplier).max())


def test_errors_are_proportional_to_delta_while_small_and_nothing_for_the_truth(by_numpy: None) -> None:
    """A spring off by a small delta: to first order the error is delta times the propagated error of the field."""
    from physics_models.simulate import simulate

    system, times = systems.load("spring")(), np.linspace(0, 3, 31)
    truth = simulate(system, initial_states(system, 0, 3), times).y
    found = {told.kind: told for told in told_errors(system, times, truth)}
    assert list(found) == list(KINDS)
    for told in found.values():
        assert not told.reason and told.errors.shape == (len(DELTAS), 31)
        assert (told.errors[0] < 1e-12).all() and (told.errors[:, 0] == 0).all()
    # A frequency off by x moves the phase by x t / 2: second order in 0.03 * 3 / 2 is 5 per cent.
    ratio = found["missing_term"].errors[2, 1:] / found["missing_term"].errors[1, 1:]
    np.testing.assert_allclose(ratio, 3, rtol=0.05)


def test_kinds_that_mean_nothing_are_left_out_with_the_reason(by_numpy: None) -> None:
    from physics_models.simulate import simulate

    system, times = systems.load("pendulum")(drive=0.5), np.linspace(0, 1, 6)
    truth = simulate(system, initial_states(system, 0, 2), times).y
    *_, told = told_errors(system, times, truth)
    assert told.kind == "wrong_symmetry" and "no symmetry that can be broken" in told.reason
    scene = Scene("pendulum", times, truth, system.variables, system)
    assert "wrong_symmetry left out: " in description(scene, [told], 200)


def test_told_equations_that_blow_up_are_cut_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from physics_models.solution import Reference, SimulationError

    def simulate(system: Any, y0: np.ndarray, times: np.ndarray, rtol: float = 0) -> Reference:
        terms = [one.prior for one in system.told]
        if times[-1] > 2 and any(isinstance(prior, MissingTerm) for prior in terms):
            raise SimulationError("it blows up", stopped_at=2.0)
        return Reference(np.repeat(y0[:, None], len(times), axis=1), 0.0, rtol)

    monkeypatch.setattr("physics_models.simulate.simulate", simulate)
    system, times = systems.load("spring")(), np.linspace(0, 4, 41)
    truth = np.cumsum(np.ones((2, 41, 2)), axis=1)
    for told in told_errors(system, times, truth):
        cut = told.kind == "missing_term"
        assert told.times[-1] == pytest.approx(1.8 if cut else 4.0) and ("blows up" in told.note) == cut
        assert told.errors.shape == (len(DELTAS), len(told.times))


# -- What is measured and drawn ----------------------------------------------------------------------------------------


def test_a_drift_is_relative_to_what_was_there_unless_that_is_nothing() -> None:
    system = systems.load("three_body")()
    y = initial_states(system, 0, 1)[:, None].repeat(3, axis=1)
    y[0, 1, :, 2:] *= 1.5
    y[..., 2:] -= y[..., 2:].mean(axis=2, keepdims=True)  # of equal masses: no momentum
    found = {
        m.name.partition(" ")[0]: m for m in measures(Scene("three_body", np.arange(3.0), y, system.variables, system))
    }
    energy = system.invariants(y[0])["energy"]
    np.testing.assert_allclose(found["energy"].values, [0, abs(energy[1] / energy[0] - 1), 0], atol=1e-15)
    assert found["momentum_x"].name.endswith("absolute)") and (found["momentum_x"].values < 1e-15).all()


def test_a_group_that_flies_one_way_is_polarised_and_does_not_mill() -> None:
    scene = drawn("flocking", disorder=0.0)
    found = {m.name: m for m in measures(scene)}
    np.testing.assert_allclose(found["polarisation"].values, 1, atol=1e-12)
    assert found["polarisation"].fraction and (found["milling"].values < 1e-12).all()


FORMS = [
    ("flocking", {"space_dim": 3}, "space"),
    ("kepler", {}, "space"),
    ("lorenz63", {}, "portrait"),
    ("robertson", {}, "portrait"),
    ("kuramoto", {}, "lines"),
    ("lorenz96", {}, "heat"),
    ("burgers", {}, "field1"),
    ("gray_scott", {"space_dim": 2, "n_points": 16, "length": 16.0, "n_modes": 2}, "field2"),
]


@pytest.mark.parametrize(("name", "options", "kind"), FORMS, ids=[f"{name}-{kind}" for name, _, kind in FORMS])
def test_every_form_of_motion_is_drawn(name: str, options: dict[str, Any], kind: str, tmp_path: Path) -> None:
    """As a film, whose pictures differ."""
    from PIL import Image, ImageChops

    scene = drawn(name, **options)
    assert form(scene) == kind
    with Image.open(film(scene, name, tmp_path / "a.gif", 0.3, 10)) as moving:
        first = moving.convert("RGB")
        moving.seek(1)
        assert ImageChops.difference(first, moving.convert("RGB")).getbbox()


@pytest.mark.slow
@pytest.mark.parametrize("name", systems.names())
def test_every_system_is_drawn(name: str, tmp_path: Path) -> None:
    path = draw(drawn(name), [], name, tmp_path / "a.png")
    assert path.stat().st_size > 10_000
