"""Placement of states and batches by the drivers: what stays, moves, or is refused.

Plain jit on one device is the reference for the numbers.
"""

import functools
import pickle
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh

import mixup_jax as mx
from mixup_jax._core import layouts

SIZE, WIDTH = 16, 8
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
BOTH = ("data", "fsdp")
TX = optax.sgd(0.5, momentum=0.9)
RNG = np.random.default_rng(0)
BATCH = (
    RNG.normal(size=(SIZE, WIDTH)).astype(np.float32),
    np.eye(WIDTH, dtype=np.float32)[RNG.integers(0, WIDTH, SIZE)],
)
mixer = partial(mx.mixup, alpha=1.0)


def key() -> jax.Array:
    return jax.random.key(3)


@functools.cache
def mesh(*kinds: str) -> Mesh:
    types = tuple(KINDS[kind] for kind in kinds * (2 // len(kinds)))
    return jax.make_mesh((2, 4), BOTH, types)


def loss(params, batch, mix):
    x, y = batch
    w = params["w"]
    if jax.typeof(w).sharding.mesh.explicit_axes:  # then the model gathers explicitly
        w = jax.sharding.reshard(w, jax.P())
    return jnp.mean(optax.losses.softmax_cross_entropy(x @ w, y)), {}


STEP = mx.training.train_step(loss, mixer)


def new_state() -> Any:
    weights = np.linspace(-1, 1, WIDTH * WIDTH, dtype=np.float32)
    return mx.training.TrainState.create(
        {"w": jnp.asarray(weights.reshape(WIDTH, WIDTH))}, TX
    )


def laid(state: Any, mesh: Mesh, axis_name: Any) -> Any:
    """Return a state whose matrices are sharded over one axis or several."""

    def put(x: jax.Array) -> jax.Array:
        spec = jax.P(None, axis_name) if x.ndim == 2 else jax.P()
        return jax.device_put(x, jax.NamedSharding(mesh, spec))

    return jax.tree.map(put, state)


def on(mesh: Mesh, tree: Any, *spec: Any) -> Any:
    return jax.device_put(tree, jax.NamedSharding(mesh, jax.P(*spec)))


def losses(run: Any, state: Any, batch: Any = BATCH, steps: int = 2) -> Any:
    found = []
    for _ in range(steps):
        state, metrics = run(state, key(), batch)
        found.append(float(metrics["loss"]))
    return state, found


@functools.cache
def reference() -> list[float]:
    return losses(jax.jit(STEP), new_state())[1]


def assert_as_on_one_device(found: Any) -> None:
    np.testing.assert_allclose(found, reference()[: len(found)], rtol=1e-5)


# The state.


@pytest.mark.parametrize("kinds", [("auto",), ("explicit",), ("explicit", "auto")])
@pytest.mark.parametrize("divided", ["fsdp", BOTH, "momentum alone"])
def test_a_state_comes_back_laid_out_as_it_went_in(divided, kinds):
    on_mesh, traces = mesh(*kinds), []
    state = new_state()
    if divided == "momentum alone":  # sums with it would propagate its sharding
        whole = on(on_mesh, state)
        state = whole.replace(opt_state=laid(state.opt_state, on_mesh, "fsdp"))
    else:
        state = laid(state, on_mesh, divided)
    before = jax.tree.map(lambda x: x.sharding, state)

    def counted(*args):
        traces.append(1)
        return loss(*args)

    step = mx.training.train_step(counted, mixer)
    run = mx.training.sharded(step, on_mesh, axis_name=BOTH)
    state, found = losses(run, state, steps=3)
    assert_as_on_one_device(found[:2])
    for sharding, x in zip(jax.tree.leaves(before), jax.tree.leaves(state)):
        assert x.sharding.is_equivalent_to(sharding, x.ndim), (x.sharding, sharding)
    assert len(traces) == 1


def test_a_state_may_grow():
    @mx.training.stateful
    def growing(params, batch, mix, state, key):
        value, metrics = loss(params, batch, mix)
        return value, (metrics, {"model_state": jnp.mean(batch[0])})

    step = mx.training.train_step(growing, mixer)
    state, found = losses(mx.training.sharded(step, mesh("auto")), new_state())
    assert_as_on_one_device(found)
    assert state.model_state.shape == ()


OTHER_ORDER = "expected an array on the devices of the mesh.*in this order.*got one on"


def elsewhere(kind: str) -> dict[str, Any]:
    here = mesh(kind)
    types = here.axis_types
    return {
        "order": Mesh(here.devices[::-1], BOTH, axis_types=types),
        "devices": Mesh(here.devices[:1], BOTH, axis_types=types),
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["order", "devices"])
@pytest.mark.parametrize("driver", ["sharded", "pmapped"])
def test_what_lies_on_other_devices_is_refused(driver, where, kind):
    there = elsewhere(kind)[where]
    run = mx.training.sharded(STEP, mesh(kind))
    if driver == "pmapped":
        run = mx.training.pmapped(STEP)
    state = new_state()
    state = state.replace(params=on(there, state.params))
    with pytest.raises(ValueError, match=r"state\.params\['w'\]: " + OTHER_ORDER):
        run(state, key(), BATCH)
    with pytest.raises(ValueError, match=r"batch\[1\]: " + OTHER_ORDER):
        run(new_state(), key(), (BATCH[0], on(there, BATCH[1], "fsdp")))
    with pytest.raises(ValueError, match="key: " + OTHER_ORDER):
        run(new_state(), on(there, key()), BATCH)
    at = jax.NamedSharding(there, jax.P())
    step = jax.ShapeDtypeStruct((), jnp.int32, sharding=at)
    shapes = jax.eval_shape(new_state).replace(step=step)
    with pytest.raises(ValueError, match=r"state\.step: " + OTHER_ORDER):
        run.lower(shapes, key(), BATCH)


def test_a_state_that_another_mesh_divides_is_refused():
    other = Mesh(mesh("auto").devices.reshape(-1), ("x",))
    run = mx.training.sharded(STEP, mesh("auto"))
    state = laid(new_state(), other, "x")
    with pytest.raises(ValueError, match=r"params\['w'\]: .*'fsdp': 4}; got.*'x'"):
        run(state, key(), BATCH)
    # Replicated leaves are the same on any mesh of these devices.
    assert_as_on_one_device(losses(run, on(other, new_state()), steps=1)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_types_of_axes_are_no_other_place(kind):
    (other,) = set(KINDS) - {kind}
    run = mx.training.sharded(STEP, mesh(kind))
    state = laid(new_state(), mesh(other), "fsdp")
    batch = on(mesh(other), BATCH, BOTH)
    state, found = losses(run, state, batch, steps=1)
    assert_as_on_one_device(found)
    assert state.params["w"].sharding.spec == jax.P(None, "fsdp")


# The batch.


@pytest.mark.parametrize(
    ("given", "laid_out"),
    [
        (jax.P(BOTH), jax.P(BOTH)),
        (jax.P("fsdp"), jax.P("fsdp")),
        (jax.P("data", None, "fsdp"), jax.P("data", None, "fsdp")),
        (jax.P(None, "data"), jax.P(None, "data")),
        (jax.P(), jax.P("data")),
        (jax.P(None, None, "fsdp"), jax.P("data", None, "fsdp")),
        (None, jax.P("data")),
    ],
)
def test_what_divides_a_batch_stays(given, laid_out):
    at = layouts.kept_and_divided("data")
    for kind, other in (("auto", "explicit"), ("explicit", "auto")):
        for there in (mesh(kind), mesh(other)):
            sharding = None if given is None else jax.NamedSharding(there, given)
            x = jax.ShapeDtypeStruct((16, 8, 8), jnp.float32, sharding=sharding)
            wanted = jax.NamedSharding(mesh(kind), laid_out)
            found = at(x, mesh(kind))
            assert found.mesh == mesh(kind)
            assert found.is_equivalent_to(wanted, 3), (found, wanted)


def test_free_axes_divide_what_is_whole():
    at = jax.NamedSharding(mesh("auto"), jax.P(None, "fsdp"))
    x = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=at)
    found = layouts.kept_and_divided(BOTH)(x, mesh("auto"))
    wanted = jax.NamedSharding(mesh("auto"), jax.P("data", "fsdp"))
    assert found.is_equivalent_to(wanted, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_over_more_axes_than_named_costs_no_more(kind):
    run = mx.training.sharded(STEP, mesh(kind))
    state = jax.eval_shape(new_state)

    def flops(batch: Any) -> float:
        costs: Any = run.lower(state, key(), batch).compile().cost_analysis()
        return costs["flops"]

    at = jax.NamedSharding(mesh(kind), jax.P(BOTH))
    over_both = tuple(
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at) for x in BATCH
    )
    # The cost of a shard of 2 examples, not of 8, plus a constant for the state.
    found = flops(over_both)
    assert found < 0.7 * flops(BATCH)
    named = mx.training.sharded(STEP, mesh(kind), axis_name=BOTH)
    costs: Any = named.lower(state, key(), BATCH).compile().cost_analysis()
    assert costs["flops"] == found


def test_what_lies_there_is_not_moved(monkeypatch):
    moved = []
    put = jax.device_put

    def counted(x, *args, **kwargs):
        moved.append(len(jax.tree.leaves(x)))
        return put(x, *args, **kwargs)

    run = mx.training.sharded(STEP, mesh("auto"))
    batch, at = on(mesh("auto"), BATCH, BOTH), on(mesh("auto"), key())
    state, metrics = run(new_state(), at, batch)
    assert_as_on_one_device([float(metrics["loss"])])
    monkeypatch.setattr(jax, "device_put", counted)
    state, _ = run(state, at, batch)
    assert sum(moved) == 0
    run(state, key(), (batch[0], BATCH[1]))
    assert sum(moved) == 2


# A run inside other programs.


def scanned(run: Any, state: Any, batch: Any) -> Any:
    def body(state: Any, _: Any) -> Any:
        return run(state, key(), batch)

    return jax.lax.scan(body, state, None, length=2)[1]["loss"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("there", [True, False])
def test_a_run_is_part_of_a_program(kind, there):
    run = mx.training.sharded(STEP, mesh(kind))
    state, batch = new_state(), BATCH
    if there:
        state = laid(state, mesh(kind), "fsdp")
        batch = on(mesh(kind), batch, BOTH)
    assert_as_on_one_device(jax.jit(partial(scanned, run))(state, batch))
    shapes, _ = jax.eval_shape(run, state, key(), batch)
    assert shapes.params["w"].shape == (WIDTH, WIDTH)
    # The caller's state is not donated.
    assert not any(x.is_deleted() for x in jax.tree.leaves(state))


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_around_a_run_costs_no_more(kind):
    run = mx.training.sharded(STEP, mesh(kind))
    state, at = on(mesh(kind), (new_state(), key()))
    batch = on(mesh(kind), BATCH, BOTH)
    costs: list[Any] = [
        each.lower(state, at, batch).compile().cost_analysis()
        for each in (run, jax.jit(run))
    ]
    assert costs[1]["flops"] == pytest.approx(costs[0]["flops"], rel=0.02)


def test_a_program_may_hold_the_batch():
    run = mx.training.sharded(STEP, mesh("auto"))
    step = jax.jit(lambda state: run(state, key(), BATCH)[1]["loss"])
    assert_as_on_one_device([float(step(new_state()))])


def test_a_program_may_hold_all_that_is_given():
    run = mx.training.sharded(STEP, mesh("auto"))
    state, at, batch = on(mesh("auto"), (new_state(), key(), BATCH))
    held = jax.jit(lambda: run(state, at, batch)[1]["loss"])
    assert_as_on_one_device([float(held())])
    shapes, _ = jax.eval_shape(lambda: run(new_state(), key(), BATCH))
    assert shapes.params["w"].shape == (WIDTH, WIDTH)


def test_a_batch_that_the_state_holds_too_is_not_donated():
    run = mx.training.sharded(STEP, mesh("auto"))
    batch = jax.tree.map(jnp.asarray, BATCH)
    state = new_state().replace(model_state=jax.tree.leaves(batch)[0])
    run(state, key(), batch)
    assert not any(x.is_deleted() for x in jax.tree.leaves(batch))


def test_a_run_prints_and_compares():
    run = mx.training.sharded(STEP, mesh("auto"))
    assert run == mx.training.sharded(STEP, mesh("auto"))
    assert run != mx.training.sharded(STEP, mesh("explicit"))
    assert repr(run).startswith("mixup_jax.training.sharded(mixup_jax.training.train_s")
    mapped = mx.training.pmapped(STEP, axis_name=BOTH)
    assert pickle.loads(pickle.dumps(mapped)) == mapped != mx.training.pmapped(STEP)


# Over devices, as pmap does.


def grid() -> np.ndarray:
    return np.array(jax.devices()).reshape(2, 4)


@pytest.mark.parametrize(
    "devices", [grid, None, lambda: jax.devices()[:4], lambda: jax.devices()[::-1]]
)
def test_pmapped_over_several_axes(devices):
    run = mx.training.pmapped(
        STEP,
        axis_name=BOTH,
        mixing=mx.whole_batch,
        devices=devices and devices(),
    )
    state, found = losses(run, new_state())
    assert_as_on_one_device(found)
    used = grid().flat if devices is None else np.ravel(devices())
    assert state.params["w"].sharding.device_set == set(used)


def test_a_loss_may_use_the_names_one_by_one():
    def loss_of_one(params, batch, mix):
        value, _ = loss(params, batch, mix)
        of = {name: jax.lax.axis_size(name) for name in BOTH}
        first = jax.lax.pmax(jax.lax.axis_index("data"), BOTH)
        return value, {**of, "last": first.astype(jnp.float32)}

    step = mx.training.train_step(loss_of_one, mx.erm)
    run = mx.training.pmapped(step, axis_name=BOTH, devices=grid())
    _, metrics = run(new_state(), key(), BATCH)
    assert (metrics["data"], metrics["fsdp"], metrics["last"]) == (2, 4, 1)
    of_all, _ = loss(new_state().params, BATCH, None)
    np.testing.assert_allclose(metrics["loss"], of_all, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_pmapped_makes_a_state_whole(kind):
    run = mx.training.pmapped(STEP, mixing=mx.whole_batch)
    state = laid(new_state(), mesh(kind), "fsdp")
    batch = on(mesh(kind), BATCH, "fsdp")
    state, found = losses(run, state, batch)
    assert_as_on_one_device(found)
    assert all(x.is_fully_replicated for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("names", "shape"), [(BOTH, (2, 2, 2)), ("data", (2, 4)), (BOTH, (0,))]
)
def test_devices_of_other_axes_are_refused(names, shape):
    devices = np.resize(np.array(jax.devices(), object), shape)
    with pytest.raises(ValueError, match=r"devices: expected a sequence.*got an array"):
        mx.training.pmapped(STEP, axis_name=names, devices=devices)


@pytest.mark.parametrize(
    ("names", "shape"), [("data", (2,)), ("data", (3,)), (BOTH, (2, 2))]
)
def test_a_device_twice_is_refused(names, shape):
    devices = np.resize(np.array(jax.devices()[:2]), shape)
    devices.flat[-1] = devices.flat[0]
    with pytest.raises(ValueError, match=r"devices: expected each device once.*=0\)"):
        mx.training.pmapped(STEP, axis_name=names, devices=devices)


@pytest.mark.parametrize(
    ("names", "devices"),
    [("data", [0, 1]), ("data", ["cpu"]), ("data", [None]), (BOTH, [[0], [1]])],
)
def test_what_is_no_device_is_refused(names, devices):
    with pytest.raises(TypeError, match="devices: expected JAX devices; got"):
        mx.training.pmapped(STEP, axis_name=names, devices=devices)


# Checks of the names in both drivers, and of the mesh in ``sharded``, on creation.

NAMES = {
    "pmapped": lambda names: mx.training.pmapped(STEP, axis_name=names),
    "sharded": lambda names: mx.training.sharded(STEP, mesh("auto"), axis_name=names),
}


@pytest.mark.parametrize("driver", NAMES)
@pytest.mark.parametrize(
    "names", [("data", "data"), ["data", "data"], ("data", "fsdp", "data")]
)
def test_a_name_twice_is_refused(names, driver):
    with pytest.raises(ValueError, match=r"axis_name: expected each name once.*'data'"):
        NAMES[driver](names)


def test_no_name_is_refused_where_there_is_no_other_mesh():
    NAMES["sharded"](())  # a replicated batch
    with pytest.raises(ValueError, match="axis_name: expected at least one name; got"):
        NAMES["pmapped"](())


@pytest.mark.parametrize("driver", NAMES)
@pytest.mark.parametrize("names", [None, 0, (0,), (BOTH,)])
def test_what_is_no_name_is_refused(names, driver):
    with pytest.raises(TypeError, match="axis_name: expected the name of an axis, or"):
        NAMES[driver](names)


@pytest.mark.parametrize(
    "given",
    [
        lambda: "data",
        lambda: None,
        lambda: mesh("auto").abstract_mesh,
        lambda: jax.sharding.AbstractMesh((2,), ("data",)),
        lambda: jax.NamedSharding(mesh("auto"), jax.P()),
        lambda: jax.devices(),
    ],
)
def test_what_is_no_mesh_of_devices_is_refused(given):
    with pytest.raises(TypeError, match=r"mesh: expected a jax.sharding\.Mesh, of"):
        mx.training.sharded(STEP, given())
