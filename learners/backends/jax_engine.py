"""Training and prediction in JAX: many steps and all seeds in one compiled program, buffers donated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax

from hardware.compiled_jax import fused
from hardware.cost import Cost
from hardware.devices import Device
from hardware.flops_jax import Tally, count
from hardware.hlo import HloError
from learners.backends.base import OTHER_SIZE, Engine, Trained
from learners.backends.jax_ops import JaxOperations, stack
from learners.base import RegressionModel, asked
from learners.snapshot import Snapshot, cost_from_json, cost_to_json, same_layout

# The precision of every array is stated by `dtype`; without this, float64 runs would silently be float32.
jax.config.update("jax_enable_x64", True)
# By default an NVIDIA GPU multiplies float32 matrices in TF32 and a TPU in bfloat16, against `dtype` and torch.
jax.config.update("jax_default_matmul_precision", "highest")


def use_compilation_cache(folder: Path) -> None:
    """Keep compiled programs on disk, so that a second start does not compile again."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


class JaxEngine(Engine):
    """See `Engine`. All seeds are lanes of one vmapped program."""

    backend = "jax"

    @staticmethod
    def framework_device(device: Device) -> Any:
        return jax.devices({"cuda": "gpu"}.get(device.kind, device.kind))[device.index]

    def build(self, weights: Sequence[dict[str, Any]]) -> None:
        with jax.default_device(self.device):
            ops = self.ops = JaxOperations(self.dtype)
            specs = self.model.parts(self.info)
            parts = [{name: ops.build(spec, drawn[name]) for name, spec in specs.items()} for drawn in weights]
            trainable = [eqx.partition(p, eqx.is_inexact_array) for p in parts]
            self._static = trainable[0][1]
            params = stack([t[0] for t in trainable])
            self._one, self._unravel = jax.flatten_util.ravel_pytree(trainable[0][0])
            self.place_points()
            rates = ops.constant(self.learning_rates)
            optimiser = jax.vmap(lambda rate, params: self._optimiser(rate).init(params))(rates, params)
            self._state = (params, optimiser, params, jnp.zeros(self.seeds, jnp.int32), rates)
            self._state = jax.tree.map(jnp.copy, self._state)  # each buffer its own, so that all may be donated
        self._best = jax.tree.map(jnp.copy, params)
        self._programs: dict[str, Any] = {}
        self._ran: dict[str, tuple[int, Any]] = {}  # of each training program: calls, and their costs together

    def place_points(self) -> None:
        points, constant = self.points, self.ops.constant
        with jax.default_device(self.device):
            self._y = constant(points.y)
            held = () if points.held is None else (jnp.asarray(points.held),)
            self._t = (constant(points.times), constant(points.lengths), *held)

    def _optimiser(self, rate: jax.Array) -> optax.GradientTransformation:
        """Of a lane: its learning rate is an argument of the program, so that lanes with others share it."""
        dtype = self.ops.dtype  # an integer step would make the rate float64
        return optax.adamw(
            lambda k: self.recipe.rate(jnp.asarray(k, dtype), jnp.minimum, rate), weight_decay=self.recipe.weight_decay
        )

    # -- the mathematics of one seed ---------------------------------------------------------------------------

    def _advance(self, params: Any, y: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
        parts = eqx.combine(params, self._static)
        return self.model.advance(self.ops, self.info, parts, y, t, h)

    def _errors(self, params: Any, y: jax.Array, t: Any, starts: jax.Array) -> jax.Array:
        """(B, window, *state): prediction minus data along each window, in units of the one-interval increments."""
        window = self.recipe.window
        rows = starts[:, None] + jnp.arange(window + 1)
        times, lengths, truth = t[0][rows], t[1][rows], y[rows]
        state, errors = truth[:, 0], []
        for k in range(window):
            state = self._advance(params, state, times[:, k], lengths[:, k])
            if len(t) > 2:  # what was held is given
                state = jnp.where(t[2][rows[:, k + 1]], truth[:, k + 1], state)
            errors.append(state - truth[:, k + 1])
        return asked(self.info, jnp.stack(errors, axis=1) / self.ops.constant(self.info.step_std))

    def _loss(self, params: Any, y: jax.Array, t: Any, starts: jax.Array) -> jax.Array:
        return jnp.mean(self._errors(params, y, t, starts) ** 2)

    def _step(self, state: Any, y: jax.Array, t: Any, starts: jax.Array) -> Any:
        params, optimiser, average, k, rate = state
        loss, gradient = jax.value_and_grad(self._loss)(params, y, t, starts)
        updates, optimiser = self._optimiser(rate).update(gradient, optimiser, params)
        params = optax.apply_updates(params, updates)
        mix = self.recipe.mix(k.astype(self.ops.dtype))
        average = jax.tree.map(lambda a, w: a + mix * (w - a), average, params)
        return (params, optimiser, average, k + 1, rate), loss

    def _chunk(self, state: Any, y: jax.Array, t: Any, starts: jax.Array, n: jax.Array) -> Any:
        """n <= chunk_steps steps; n is an argument, so that one compiled program serves every length."""

        def body(carry: Any) -> Any:
            i, state, losses = carry
            state, loss = self._step(state, y, t, starts[i])
            return i + 1, state, losses.at[i].set(loss)

        losses = jnp.zeros(starts.shape[0], self.ops.dtype)
        _, state, losses = jax.lax.while_loop(lambda c: c[0] < n, body, (jnp.zeros_like(n), state, losses))
        return state, losses

    def _roll(self, params: Any, y0: jax.Array, times: jax.Array, lengths: jax.Array, n: jax.Array) -> jax.Array:
        """(P, T + 1, *state): states before and after the first n of the intervals `lengths` (P, T)."""

        def body(carry: Any) -> Any:
            i, state, out = carry
            state = self._advance(params, state, times[:, i], lengths[:, i])
            return i + 1, state, out.at[:, i + 1].set(state)

        out = jnp.zeros((len(y0), times.shape[1] + 1, *y0.shape[1:]), y0.dtype).at[:, 0].set(y0)
        return jax.lax.while_loop(lambda c: c[0] < n, body, (jnp.zeros_like(n), y0, out))[2]

    # -- compiled programs --------------------------------------------------------------------------------------

    def _starts_shape(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.seeds, self.chunk_steps, self.recipe.batch), jnp.int32)

    def compile_training(self) -> None:
        if "train" not in self._programs:
            lanes = jax.vmap(count(self._chunk), in_axes=(0, None, None, 0, None))
            arguments = (self._state, self._y, self._t, self._starts_shape(), jax.ShapeDtypeStruct((), jnp.int32))
            program = jax.jit(count(lanes), donate_argnums=0)
            with jax.default_device(self.device):
                compiled = self._programs["train"] = program.lower(*arguments).compile()
            # A compiled program makes kernels ready as it first meets them, which takes as long as a hundred steps of a
            # small model and is not training: one step is taken with a copy of the state, and forgotten.
            copy = jax.tree.map(jnp.copy, self._state)
            starts = self._put(np.full(self._starts_shape().shape, self.points.starts[0], np.int32))
            jax.block_until_ready(compiled(copy, self._y, self._t, starts, self._put(np.int32(1))))

    def compile_prediction(self) -> None:
        if "predict" not in self._programs:
            lanes = jax.vmap(count(self._roll), in_axes=(0, 0, None, None, None))
            p, length = self.predict_batch, self.predict_times
            arguments = (
                self._state[2],
                jax.ShapeDtypeStruct((self.seeds, p, *self.info.state_shape), self.ops.dtype),
                jax.ShapeDtypeStruct((p, length), self.ops.dtype),
                jax.ShapeDtypeStruct((p, length), self.ops.dtype),
                jax.ShapeDtypeStruct((), jnp.int32),
            )
            with jax.default_device(self.device):
                self._programs["predict"] = jax.jit(lanes).lower(*arguments).compile()

    def train(self, starts: np.ndarray) -> Trained:
        self.compile_training()
        n = starts.shape[1]
        padded = np.zeros(self._starts_shape().shape, np.int32)
        padded[:, :n] = starts
        ((self._state, losses), lanes), whole = self._programs["train"](
            self._state, self._y, self._t, self._put(padded), self._put(np.int32(n))
        )
        losses = np.asarray(losses)[:, :n]  # waits for the device
        self._note("train", whole)
        executed = self._ran["train"][1].resolve().share(self.seeds)
        return Trained(losses, lanes.lanes(self.seeds), [executed] * self.seeds)

    def _note(self, name: str, cost: Cost | Tally) -> None:
        calls, sum_of_costs = self._ran.get(name, (0, None))
        self._ran[name] = (calls + 1, cost if sum_of_costs is None else sum_of_costs + cost)

    def fused_work(self) -> tuple[int, int] | None:
        total_bytes = kernels = 0
        for name, (calls, cost) in self._ran.items():
            none = Tally(cost.prices, tuple(0 * t for t in cost.times)) if isinstance(cost, Tally) else None
            try:  # all trips of all calls, and what each further call does outside its loops
                whole = fused(self._programs[name], cost)
                outside = fused(self._programs[name], none) if calls > 1 else whole
            except HloError:  # a program from another compiler, or one that a cache keeps without its text
                return None
            total_bytes += whole.fused_bytes + (calls - 1) * outside.fused_bytes
            kernels += whole.kernels + (calls - 1) * outside.kernels
        return (total_bytes // self.seeds, kernels // self.seeds) if self._ran else None

    def training_program(self, steps: int) -> tuple[Callable, tuple[Any, ...]]:
        lanes = jax.vmap(self._chunk, in_axes=(0, None, None, 0, None))
        starts = np.zeros(self._starts_shape().shape, np.int32)
        return lanes, (self._state, self._y, self._t, self._put(starts), self._put(np.int32(steps)))

    def _put(self, array: Any) -> jax.Array:
        return jax.device_put(array, self.device)

    def _rollout(
        self, y0: np.ndarray, times: np.ndarray, lengths: np.ndarray, intervals: int, count_flop: bool
    ) -> tuple[np.ndarray, list[Cost]]:
        self.compile_prediction()
        states, lanes = self._programs["predict"](
            self._state[2],
            self._put(y0.astype(self.dtype)),
            self._put(times.astype(self.dtype)),
            self._put(lengths.astype(self.dtype)),
            self._put(np.int32(intervals)),
        )
        return np.asarray(states[:, :, : intervals + 1], np.float64), lanes.lanes(self.seeds)

    # -- fits that are not by gradient -----------------------------------------------------------------------------

    def compile_fit(self, rows: int) -> None:
        shape = jax.ShapeDtypeStruct((rows,), jnp.int32)
        theta = jax.ShapeDtypeStruct(self._one.shape, self.ops.dtype)
        if self.model.learning == "least_squares":
            name, program, arguments = "least_squares", self._least_squares, (self._y, self._t, shape)
        else:
            name, program, arguments = "residual", self._residual, (theta, self._y, self._t, shape)
        with jax.default_device(self.device):
            self._programs[name] = jax.jit(count(program)).lower(*arguments).compile()
        # What puts a result in its place is compiled now too, and not while the fit is measured (and not for a default
        # device of its own, which would be another program).
        if name == "least_squares":
            weight = jax.eval_shape(program, *arguments)
            self._every_seed(jnp.zeros(weight.shape, weight.dtype))
        else:
            for seed in range(self.seeds):
                own = jax.tree.map(lambda a, seed=seed: a[seed], self._state[2])
                self.set_parameters(seed, np.asarray(jax.flatten_util.ravel_pytree(own)[0], np.float64))

    def _every_seed(self, weight: jax.Array) -> jax.Array:
        return jnp.stack([weight] * self.seeds)

    def _fit_program(self, name: str, *arguments: Any) -> tuple[Any, Cost]:
        if name not in self._programs:
            self.compile_fit(len(arguments[-1]))
        result, cost = self._programs[name](*arguments)
        self._note(name, cost)
        return jax.block_until_ready(result), cost.resolve()

    def _least_squares(self, y: jax.Array, t: Any, starts: jax.Array) -> jax.Array:
        model = self.model
        if not isinstance(model, RegressionModel):
            raise TypeError(f"{type(model).__name__} must be a RegressionModel to learn by least_squares")
        y0, y1, h = y[starts], y[starts + 1], t[1][starts]
        x, target = model.features(self.ops, self.info, y0), model.targets(self.ops, self.info, y0, y1, h)
        return solve_ridge(x, target, model.ridge)

    def least_squares(self, starts: np.ndarray) -> Cost:
        weight, cost = self._fit_program("least_squares", self._y, self._t, self._put(starts.astype(np.int32)))
        average = {"map": {"weight": self._every_seed(weight)}}
        self._state = (*self._state[:2], average, *self._state[3:])
        return cost

    def _residual(self, theta: jax.Array, y: jax.Array, t: Any, starts: jax.Array) -> jax.Array:
        return jnp.ravel(self._errors(self._unravel(theta), y, t, starts))

    def residual(self, theta: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, Cost]:
        place = self._put(theta.astype(self.dtype)), self._y, self._t, self._put(starts)
        value, cost = self._fit_program("residual", *place)
        return np.asarray(value, np.float64), cost

    def set_parameters(self, seed: int, theta: np.ndarray) -> None:
        params = self._unravel(self.ops.constant(theta))
        average = jax.tree.map(lambda a, p: a.at[seed].set(p), self._state[2], params)
        self._state = (*self._state[:2], average, *self._state[3:])

    def take_weights(self, other: Engine) -> None:
        assert isinstance(other, JaxEngine)
        mine, theirs = self._state[2], other._state[2]
        shapes = [[leaf.shape for leaf in jax.tree.leaves(weights)] for weights in (mine, theirs)]
        if jax.tree.structure(mine) != jax.tree.structure(theirs) or shapes[0] != shapes[1]:
            raise ValueError(OTHER_SIZE)
        self._state = (*self._state[:2], jax.tree.map(jnp.copy, theirs), *self._state[3:])

    def keep_best(self, better: np.ndarray) -> None:
        if better.any():
            mask = jnp.asarray(better)
            self._best = jax.tree.map(
                lambda new, old: jnp.where(mask.reshape(-1, *(1,) * (new.ndim - 1)), new, old),
                self._state[2],
                self._best,
            )

    def use_best(self) -> None:
        # A copy: training on would donate the buffers, and the best weights with them.
        self._state = (*self._state[:2], jax.tree.map(jnp.copy, self._best), *self._state[3:])

    def snapshot(self) -> Snapshot:
        leaves = jax.tree.leaves((self._state, self._best))
        arrays = {str(i): np.array(leaf) for i, leaf in enumerate(leaves)}  # copies: training on donates the buffers
        calls, cost = self._ran.get("train", (0, Cost()))
        # With the costs of every call, for what `fused_work` makes of them.
        tally = isinstance(cost, Tally)
        prices = [cost_to_json(price) for price in (cost.prices if tally else (cost,))]
        return Snapshot(
            arrays, {"calls": calls, "prices": prices, "times": [int(t) for t in cost.times] if tally else None}
        )

    def restore(self, snapshot: Snapshot) -> None:
        leaves, structure = jax.tree.flatten((self._state, self._best))
        saved = [same_layout(str(i), snapshot.arrays[str(i)], a.shape, a.dtype) for i, a in enumerate(leaves)]
        with jax.default_device(self.device):
            self._state, self._best = jax.tree.unflatten(structure, [jnp.array(a) for a in saved])
        facts = snapshot.facts
        prices = tuple(cost_from_json(price) for price in facts["prices"])
        cost = prices[0] if facts["times"] is None else Tally(prices, tuple(facts["times"]))
        self._ran = {"train": (facts["calls"], cost)}

    def weights(self, seed: int) -> dict[str, np.ndarray]:
        leaves = jax.tree_util.tree_flatten_with_path(self._state[2])[0]
        return {jax.tree_util.keystr(path).strip("."): np.asarray(leaf[seed]) for path, leaf in leaves}


def solve_ridge(x: jax.Array, target: jax.Array, ridge: float) -> jax.Array:
    """argmin |x w - target|² + ridge rows |w|², by QR of the stacked system, so that the condition is not squared."""
    n = x.shape[1]
    root = (ridge * x.shape[0]) ** 0.5
    q, r = jnp.linalg.qr(jnp.concatenate([x, root * jnp.eye(n, dtype=x.dtype)]))
    padded = jnp.concatenate([target, jnp.zeros((n, target.shape[1]), target.dtype)])
    return jax.scipy.linalg.solve_triangular(r, q.T @ padded)
