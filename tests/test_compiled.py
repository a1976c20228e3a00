"""Mixing is free: facts about the programs compiled for eight devices."""

import functools
import math
import os
import re
import time
from functools import partial
from typing import Any

import chex
import jax
import jax.export
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AxisType, NamedSharding

import mixup_jax as mx
from benchmarks._programs import COLLECTIVES, equations, hashes
from tests import oracle
from tests.methods import METHODS

DEVICES = 8
KINDS = {"auto": AxisType.Auto, "explicit": AxisType.Explicit}
SIZE, SIDE, CHANNELS, CLASSES = 32, 12, 3, 10
FREE = {
    "mixup": partial(mx.mixup, alpha=0.2),
    "cutmix": mx.cutmix,
    "choose": mx.choose([partial(mx.mixup, alpha=0.2), mx.cutmix], [0.5, 0.5]),
    "with-probability": mx.with_probability(0.5, mx.mixup),
    "reverse-4": partial(mx.mixup, pairing=partial(mx.pairings.reverse, block=4)),
    "fmix": mx.fmix,
    "gaussian": partial(mx.gaussian, sigma=0.1),
    "dirichlet": partial(mx.dirichlet, partners=3),
    "choose-dirichlet": mx.choose(
        [partial(mx.dirichlet, partners=3), mx.mixup], [0.5, 0.5]
    ),
    "resizemix": mx.resizemix,
    "smoothmix": mx.smoothmix,
}
optimizer = optax.sgd(0.1)


def train_step(mixer: mx.Mixer) -> Any:
    def loss(params, batch):
        x, y = batch
        hidden = jax.nn.relu(x.reshape(len(x), -1) @ params["in"])
        return optax.softmax_cross_entropy(hidden @ params["out"], y).mean()

    def step(params, state, key, batch):
        batch, _ = mixer(key, batch)
        value, slope = jax.value_and_grad(loss)(params, batch)
        updates, state = optimizer.update(slope, state)
        return optax.apply_updates(params, updates), state, value

    return step


def arguments(kind: str = "auto") -> Any:
    """Return the arguments of a step, with the batch sharded over eight devices."""
    mesh = jax.make_mesh((DEVICES,), ("data",), (KINDS[kind],))
    params = {
        "in": jnp.ones((SIDE * SIDE * CHANNELS, 16)),
        "out": jnp.ones((16, CLASSES)),
    }
    everywhere = NamedSharding(mesh, jax.P())
    params, key = jax.device_put((params, jax.random.key(0)), everywhere)
    batch = (
        jnp.ones((SIZE, SIDE, SIDE, CHANNELS)),
        jax.nn.one_hot(jnp.arange(SIZE) % CLASSES, CLASSES),
    )
    batch = jax.device_put(batch, NamedSharding(mesh, jax.P("data")))
    return mesh, (params, optimizer.init(params), key, batch)


@functools.cache
def compiled(name: str, kind: str) -> Any:
    mesh, given = arguments(kind)
    with jax.set_mesh(mesh):
        step = train_step({"none": mx.erm, **FREE}.get(name) or METHODS[name].mixer)
        return jax.jit(step).lower(*given).compile()


def collectives(program: Any) -> dict[str, int]:
    text = program.as_text()
    return {
        kind: text.count(f" {kind}(") + text.count(f" {kind}-start(")
        for kind in COLLECTIVES
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FREE)
def test_a_sharded_step_has_no_further_collective(name, kind):
    without = collectives(compiled("none", kind))
    assert without["all-reduce"] > 0
    assert collectives(compiled(name, kind)) == without


@pytest.mark.parametrize("kind", KINDS)
def test_a_further_collective_would_be_seen(kind):
    with_permutation = collectives(compiled("mixup-permutation", kind))
    assert with_permutation != collectives(compiled("none", kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FREE)
def test_at_most_one_batch_of_temporary_memory(name, kind):
    def temporary(name):
        return compiled(name, kind).memory_analysis().temp_size_in_bytes

    share = 4 * SIZE * (SIDE * SIDE * CHANNELS + CLASSES) // DEVICES
    # Only the numbers drawn per example, and alignment: far below the size of a batch.
    assert temporary(name) - temporary("none") <= share + 2048


def loops(function: Any, *given: Any) -> set[str]:
    jaxpr = jax.make_jaxpr(function)(*given).jaxpr
    # Skip the hash. On CPUs it has a loop, of one iteration; that of JAX has five.
    apart = {equation for each in hashes(jaxpr) for equation in equations(each)}
    found = [each for each in equations(jaxpr) if each not in apart]
    names = {equation.primitive.name for equation in found}
    # The sampler behind ``jax.random.beta`` is a primitive that becomes a loop.
    return {
        name for name in names for loop in ("while", "scan", "gamma") if loop in name
    }


@pytest.mark.parametrize("name", METHODS)
def test_no_loop(name):
    method = METHODS[name]
    batch = oracle.batch(method, 8)
    assert not loops(method.mixer, jax.random.key(0), batch)
    if method.default is not None:
        assert not loops(
            lambda alpha, *given: method.of(alpha)(*given),
            jnp.float32(0.5),
            jax.random.PRNGKey(0),
            batch,
        )


@pytest.mark.parametrize("name", METHODS)
def test_no_loop_as_lowered_for_a_tpu(name):
    # This shows loops that are a single primitive in a jaxpr. (JAX's own generator is a
    # loop on a CPU.)
    method = METHODS[name]
    traced = jax.jit(method.mixer).trace(jax.random.key(0), oracle.batch(method, 8))
    assert "while" not in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_a_loop_would_be_seen():
    search = jax.jit(partial(jnp.searchsorted, method="scan"))
    traced = search.trace(jnp.arange(8), jnp.arange(8))
    assert "while" in traced.lower(lowering_platforms=("tpu",)).as_text()
    assert loops(partial(jax.random.beta, a=0.2, b=0.2), jax.random.key(0))
    for repeat in (
        lambda x: jax.lax.fori_loop(0, 3, jnp.add, x),
        lambda x: jax.lax.while_loop(lambda x: x < 9, lambda x: x + 1, x),
        lambda x: jax.lax.map(jnp.abs, jnp.broadcast_to(x, (2,))),
    ):
        assert loops(jax.jit(repeat), jnp.int32(0))


ONE_CHANNEL = {
    "images": ((64, 28, 28, 1), (1, 2)),
    "channels first": ((64, 1, 28, 28), (2, 3)),
    "waveforms": ((64, 2000, 1), (1,)),
}


@pytest.mark.parametrize("inputs", ONE_CHANNEL)
@pytest.mark.parametrize("method", ["mixup", "permuted", "cutmix", "choose"])
def test_one_channel_takes_no_copy(method, inputs):
    shape, spatial = ONE_CHANNEL[inputs]
    cutmix = partial(mx.cutmix, spatial=spatial)
    mixer = {
        "mixup": mx.mixup,
        "permuted": partial(mx.mixup, pairing=mx.pairings.permutation),
        "cutmix": cutmix,
        "choose": mx.choose([mx.mixup, cutmix], [0.5, 0.5]),
    }[method]
    run = jax.jit(lambda key, x: mixer(key, (x, None))[0][0])
    program: Any = run.lower(jax.random.key(0), jnp.ones(shape)).compile()
    batch = 4 * math.prod(shape)
    # The numbers drawn per example are noticeable beside inputs this small.
    assert program.memory_analysis().temp_size_in_bytes <= batch / 10
    assert 2 < (program.cost_analysis() or {})["bytes accessed"] / batch <= 2.5


def test_a_batch_that_is_donated_costs_a_copy():
    """Each row is also read by its partner, so it cannot be overwritten in place."""
    batch = jnp.ones((SIZE, SIDE, SIDE, CHANNELS)), jnp.ones((SIZE, CLASSES))
    nbytes = sum(x.nbytes for x in batch)

    def memory(*donated: int) -> Any:
        run = jax.jit(lambda *given: mx.mixup(*given)[0], donate_argnums=donated)
        return run.lower(jax.random.key(0), batch).compile().memory_analysis()

    kept, donated = memory(), memory(1)
    assert kept.alias_size_in_bytes == 0
    assert donated.alias_size_in_bytes >= nbytes
    assert kept.temp_size_in_bytes < nbytes / 10 < nbytes <= donated.temp_size_in_bytes


def wide_buffers(function: Any, *given: Any, size: int) -> list[str]:
    """Return the float32 arrays of ``size`` that a program holds in memory.

    Wide values inside a fused loop are in registers and cost nothing; the entry
    computation lists the arrays that are written.
    """
    text = jax.jit(function).lower(*given).compile().as_text()
    assert text is not None
    entry = text[text.index("\nENTRY") :]
    shapes = re.findall(r"= \(?f(?:32|64)\[([\d,]+)\]", entry)
    return [s for s in shapes if math.prod(map(int, s.split(","))) == size]


# Distances between inputs are computed in float32.
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"mixup-nearest"}))
def test_bfloat16_is_not_widened_in_memory(name):
    x = jnp.ones((8, 12, 12, 3), jnp.bfloat16)
    y = jnp.ones((8, 3), jnp.bfloat16)
    assert not wide_buffers(METHODS[name].mixer, jax.random.key(0), (x, y), size=x.size)


def test_a_wide_buffer_would_be_seen():
    def widened(x):
        return jnp.sort(x.astype(jnp.float32), axis=0).astype(x.dtype)

    x = jnp.ones((8, 12, 12, 3), jnp.bfloat16)
    assert wide_buffers(widened, x, size=x.size)


@pytest.mark.parametrize("name", METHODS)
def test_one_trace_for_each_shape(name):
    chex.clear_trace_counter()

    @jax.jit
    @partial(chex.assert_max_traces, n=1)
    def step(alpha, key, batch):
        return METHODS[name].of(alpha)(key, batch)

    batch = oracle.images(4)
    for alpha in (0.2, 0.4, 0.0):
        for seed in (0, 1):
            step.trace(jnp.float32(alpha), jax.random.key(seed), batch)
    with pytest.raises(AssertionError, match="traced > 1 times"):
        step.trace(jnp.float32(1), jax.random.key(0), oracle.images(6))


# Programs of a single source: the numbers of equations (without the hash's), fusions
# and bytes accessed, with JAX 0.10.2 under the flags of conftest.py.
BEFORE = {
    "mixup": (162, 6, 28_961),
    "mixup-roll": (115, 6, 28_961),
    "mixup-permutation": (109, 7, 29_377),
    "cutmix": (213, 9, 29_697),
    "fmix": (713, 59, 668_515),
    "manifold": (178, 6, 29_093),
}


@pytest.mark.skipif(jax.__version__ != "0.10.2", reason="JAX 0.10.2 counted these")
@pytest.mark.parametrize("name", BEFORE)
def test_one_source_compiles_to_what_it_was(name):
    batch = jnp.ones((8, 12, 12, 3)), jnp.ones((8, 10))
    mixer, key = METHODS[name].mixer, jax.random.key(0)
    jaxpr = jax.make_jaxpr(mixer)(key, batch).jaxpr
    program = jax.jit(lambda *given: mixer(*given)[0]).lower(key, batch).compile()
    equation_count, fusions, moved = BEFORE[name]
    of_hash = sum(len(list(equations(each))) for each in hashes(jaxpr))
    assert len(list(equations(jaxpr))) - of_hash <= equation_count
    assert (program.as_text() or "").count(" fusion(") == fusions
    assert (program.cost_analysis() or {})["bytes accessed"] == moved


def test_a_choice_adds_less_than_it_chooses_from():
    def count(mixer):
        batch = jnp.ones((8, 6, 6, 3)), jnp.ones((8, 3))
        jaxpr = jax.make_jaxpr(mixer)(jax.random.key(0), batch).jaxpr
        return len(list(equations(jaxpr)))

    # Saving passes outweighs the cost of the choice.
    assert count(FREE["choose"]) < count(FREE["mixup"]) + count(FREE["cutmix"])


@pytest.mark.parametrize("name", METHODS)
def test_exports_for_every_platform(name):
    mixer = METHODS[name].mixer
    batch = oracle.images(8)

    platforms = ("cpu", "cuda", "tpu")
    export = jax.export.export(jax.jit(mixer), platforms=platforms)
    exported = export(jax.random.key(0), batch)
    assert exported.platforms == platforms
    assert [out.shape for out in exported.out_avals[:2]] == [x.shape for x in batch]
    assert jax.export.deserialize(exported.serialize()).out_tree == exported.out_tree


@pytest.mark.slow
def test_compiles_in_half_a_second_more():
    mesh, given = arguments()

    def by_rejection(key, partners):
        return jax.random.beta(key, 0.2, 0.2, partners.index.shape, jnp.float32)

    mixers = {
        "none": lambda key, batch: (batch, None),
        "by-rejection": partial(mx.mixup, ratio=by_rejection),
        **{name: FREE[name] for name in ("mixup", "cutmix", "choose")},
    }

    def seconds(mixer):
        # Compile as a user would, with the passes that conftest.py disables.
        options = {"xla_backend_optimization_level": 3}
        if "fusion_emitters" in os.environ["XLA_FLAGS"]:
            options["xla_cpu_use_fusion_emitters"] = True
        with jax.set_mesh(mesh):
            step = jax.jit(train_step(mixer), compiler_options=options)
            start = time.process_time()
            step.lower(*given).compile()
            return time.process_time() - start

    # Other work on the machine only adds time, so take the least of a few alternating
    # runs. A time above the limit may be due to a slow machine. The sampler of
    # ``jax.random``, which costs two seconds on an idle one, calibrates for that.
    least, added, limit = dict.fromkeys(mixers, float("inf")), {}, 0.0
    for _ in range(4):
        for name, mixer in mixers.items():
            least[name] = min(least[name], seconds(mixer))
        added = {name: took - least["none"] for name, took in least.items()}
        limit = max(0.5, 0.6 * added.pop("by-rejection"))
        if max(added.values()) < limit:
            return
    raise AssertionError(f"seconds added to {least['none']:.2f}: {added}, {limit=:.2f}")
