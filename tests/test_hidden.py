"""Hidden layers: only the drawn layer is mixed, in models whose code is unchanged."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx

import mixup_jax as mx
from tests import oracle

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)), jnp.float32)
Y = jnp.eye(4)[jnp.arange(8) % 4]
LAYERS = (0, 1, 2)


class Inner(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.tanh(nn.Dense(6)(x))


class Linen(nn.Module):
    def setup(self):
        self.blocks = [Inner(), Inner()]
        self.head = nn.Dense(4)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.linear = nnx.Linear(width, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)

    def __call__(self, x):
        return self.norm(jnp.tanh(self.linear(x)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        # Flax 0.12 requires its own list here; earlier versions have none.
        self.blocks = getattr(nnx, "List", list)([Block(5, rngs), Block(6, rngs)])
        self.head = nnx.Linear(6, 4, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


LINEN = Linen()
VARIABLES = LINEN.init(KEY, X)


def forward(mix, x):
    """Apply the Linen model by hand, with the mix after each of its two blocks."""
    for k in (0, 1):
        layer = VARIABLES["params"][f"blocks_{k}"]["Dense_0"]
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"][None])
        x = mix.at(k + 1).inputs(x)
    head = VARIABLES["params"]["head"]
    return x @ head["kernel"] + head["bias"][None]


def through_linen(mix, x):
    with mx.hidden.linen(mix, after=["blocks_0", "blocks_1"]):
        return jnp.asarray(LINEN.apply(VARIABLES, x))


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_that_was_drawn_is_mixed_and_no_other(layer):
    (x, y), mix = mx.manifold(KEY, (X, Y), layers=(layer,), alpha=2.0)
    (blended, _), plain = mx.mixup(KEY, (X, Y), alpha=2.0)
    oracle.assert_equal(mix.lam, plain.lam)
    oracle.assert_equal(y, plain.targets(Y))
    oracle.assert_equal(x, blended if layer == 0 else X)
    hidden = jnp.cos(X)
    for k in range(4):
        want = plain.inputs(hidden) if k == layer else hidden
        oracle.assert_equal(mix.at(k).inputs(hidden), want)


@pytest.mark.parametrize("layer", LAYERS)
def test_linen_is_mixed_as_by_hand(layer):
    (x, _), mix = mx.manifold(KEY, (X, Y), layers=(layer,))
    got = through_linen(mix, x)
    oracle.assert_close(got, forward(mix, x))
    assert not np.allclose(got, jnp.asarray(LINEN.apply(VARIABLES, X)), atol=1e-3)


def test_one_program_serves_all_layers_and_each_is_drawn():
    @jax.jit
    def run(key):
        (x, _), mix = mx.manifold(key, (X, Y), layers=LAYERS)
        assert isinstance(mix.region, mx.regions.Layer)
        return through_linen(mix, x), mix.region.drawn, forward(mix, x)

    count = 300
    got, drawn, want = jax.vmap(run)(jax.random.split(KEY, count))
    oracle.assert_close(got, want)
    assert (drawn == drawn[:, :1]).all()
    share = np.bincount(np.asarray(drawn[:, 0]), minlength=3) / count
    assert np.abs(share - 1 / 3).max() < 4 * np.sqrt(2 / 9 / count)
    text = run.lower(KEY).compile().as_text() or ""
    assert "conditional" not in text


@pytest.mark.parametrize("layer", LAYERS)
def test_nnx_is_mixed_as_by_hand_and_keeps_its_statistics(layer):
    (x, _), mix = mx.manifold(KEY, (X, Y), layers=(layer,))
    model, twin = Nnx(nnx.Rngs(0)), Nnx(nnx.Rngs(0))
    with mx.hidden.nnx(model, mix, after=["blocks/0", "blocks/1"]):
        got = model(x)
    want = x
    for k, block in enumerate(twin.blocks, start=1):
        want = mix.at(k).inputs(block(want))
    oracle.assert_close(got, twin.head(want))
    oracle.assert_close(
        nnx.to_pure_dict(nnx.state(model, nnx.BatchStat)),
        nnx.to_pure_dict(nnx.state(twin, nnx.BatchStat)),
    )
    assert type(model.blocks[0]) is Block
    oracle.assert_close(model(X), twin(X))


def test_nnx_is_itself_again_after_an_error():
    model = Nnx(nnx.Rngs(0))
    _, mix = mx.manifold(KEY, (X, Y), layers=(0, 1))
    with (
        pytest.raises(ZeroDivisionError),
        mx.hidden.nnx(model, mix, after=["head"]),
    ):
        raise ZeroDivisionError
    assert type(model.head) is nnx.Linear


@pytest.mark.parametrize("flavour", ["linen", "nnx"])
def test_training_lowers_the_loss_without_a_change_to_the_model(flavour):
    graph, params, rest = nnx.split(Nnx(nnx.Rngs(0)), nnx.Param, ...)

    def logits_of(params, x, mix):
        if flavour == "linen":
            with mx.hidden.linen(mix, after=["blocks_0", "blocks_1"]):
                return jnp.asarray(LINEN.apply(params, x))
        model = nnx.merge(graph, params, rest, copy=True)
        with mx.hidden.nnx(model, mix, after=["blocks/0", "blocks/1"]):
            return model(x)

    def loss(params, batch, mix):
        x, y = batch
        return optax.softmax_cross_entropy(logits_of(params, x, mix), y).mean(), {}

    start = VARIABLES if flavour == "linen" else params
    state = mx.training.TrainState.create(start, optax.sgd(0.5))
    mixer = partial(mx.manifold, layers=LAYERS, alpha=0.2)
    step = jax.jit(mx.training.train_step(loss, mixer))
    found = []
    for _ in range(60):
        state, metrics = step(state, KEY, (X, Y))
        found.append(float(metrics["loss"]))
    assert np.mean(found[-10:]) < 0.7 * np.mean(found[:5])


def test_inputs_may_be_integers_where_they_are_not_a_layer():
    tokens = jnp.arange(8)[:, None]
    (same, y), mix = mx.manifold(KEY, (tokens, Y), layers=(1, 2))
    oracle.assert_equal(same, tokens)
    oracle.assert_equal(y, mix.targets(Y))
    with pytest.raises(TypeError, match="expected a floating-point or complex"):
        mx.manifold(KEY, (tokens, Y), layers=(0, 1))


def test_other_mixers_leave_hidden_layers_alone():
    images = jnp.ones((8, 4, 4, 1)) * jnp.arange(8.0)[:, None, None, None]
    both = mx.choose([partial(mx.manifold, layers=(1,)), mx.cutmix], [0.5, 0.5])
    for mixer in (mx.mixup, mx.cutmix, mx.fmix, mx.erm):
        _, mix = mixer(KEY, (images, None))
        oracle.assert_equal(mix.at(1).inputs(images), images)
        oracle.assert_equal(mix.at(0).inputs(images), mix.inputs(images))
    (mixed, _), mix = both(jax.random.key(1), (images, None))
    assert isinstance(mix.region, mx.regions.Chosen)
    pasted = np.asarray(mix.region.index) == 1
    hidden = np.asarray(mix.at(1).inputs(images))
    changed = (hidden != np.asarray(images)).any(axis=(1, 2, 3))
    assert not changed[pasted].any()
    assert changed[~pasted].all()
    oracle.assert_equal(np.asarray(mixed)[~pasted], np.asarray(images)[~pasted])
    assert pasted.any()
    assert (~pasted).any()


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_on_a_mesh_nothing_is_sent(kind):
    axis = getattr(jax.sharding.AxisType, kind)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(axis,))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    batch = jax.device_put((X, Y), spread)

    def run(key, batch):
        (x, y), mix = mx.manifold(key, batch, layers=LAYERS)
        return mix.at(1).inputs(jnp.tanh(x)), y

    with jax.set_mesh(mesh):
        compiled = jax.jit(run).lower(KEY, batch).compile()
        got = jax.jit(run)(KEY, batch)
    text = compiled.as_text() or ""
    assert not any(word in text for word in ("all-gather", "all-reduce", "permute("))
    oracle.assert_close(jax.device_get(got), jax.device_get(run(KEY, (X, Y))))


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (["nowhere"], r"got \['nowhere'\]|got 'nowhere'"),
        (["head", "head"], "each once"),
        ("head", "expected a sequence of paths"),
    ],
)
def test_a_module_that_is_not_there_is_named(after, said):
    _, mix = mx.manifold(KEY, (X, Y), layers=(0, 1))
    with pytest.raises(ValueError, match=said), mx.hidden.linen(mix, after=after):
        LINEN.apply(VARIABLES, X)
    model = Nnx(nnx.Rngs(0))
    with (
        pytest.raises(ValueError, match=said),
        mx.hidden.nnx(model, mix, after=after),
    ):
        model(X)


some = mx.with_probability(0.5, partial(mx.manifold, layers=LAYERS))


@pytest.mark.parametrize("flavour", ["linen", "nnx"])
@pytest.mark.parametrize(
    "mixer",
    [
        partial(mx.manifold, layers=LAYERS),
        some,
        mx.choose([some, partial(mx.mixup, alpha=0.2)], [0.5, 0.5]),
    ],
)
def test_a_layer_without_a_module_is_refused(mixer, flavour):
    model = Nnx(nnx.Rngs(0))
    within = {"linen": mx.hidden.linen, "nnx": partial(mx.hidden.nnx, model)}[flavour]
    _, mix = mixer(KEY, (X, Y))
    after = ["blocks_0", "blocks_1"] if flavour == "linen" else ["blocks/0", "blocks/1"]
    with (
        pytest.raises(ValueError, match=r"a module for each layer up to 2.*; got 1"),
        within(mix, after=after[:1]),
    ):
        pass
    with within(mix, after=after):
        LINEN.apply(VARIABLES, X)
        model(X)


JITTED = r"no jit between the `with`.*Jit the function that contains both"
# JAX 0.7 reuses the cached trace, without calling any module.
KEPT = rf"{JITTED}|that are called; .*that is not jitted separately"


def test_a_model_that_was_jitted_before_is_not_mistaken_for_one_without_modules():
    apply = jax.jit(LINEN.apply)
    apply(VARIABLES, X)
    _, mix = mx.manifold(KEY, (X, Y), layers=(1,))
    with (
        pytest.raises(ValueError, match=KEPT),
        mx.hidden.linen(mix, after=["blocks_0"]),
    ):
        apply(VARIABLES, X)


def test_a_submodule_that_is_not_called_is_named():
    model = Nnx(nnx.Rngs(0))
    model.unused = nnx.Linear(3, 3, rngs=nnx.Rngs(1))  # type: ignore
    _, mix = mx.manifold(KEY, (X, Y), layers=(0, 1, 2))
    with (
        pytest.raises(
            ValueError, match=r"got \['unused'\]. .* submodules are \['blocks/0'\]"
        ),
        mx.hidden.nnx(model, mix, after=["blocks/0", "unused"]),
    ):
        model(X)


@pytest.mark.parametrize("layers", [(), (0, 0), (-1, 2), 3, "ab", (0.5,)])
def test_bad_layers_are_refused(layers):
    with pytest.raises(ValueError, match="layers: expected at least one layer number"):
        mx.manifold(KEY, (X, Y), layers=layers)


@pytest.mark.parametrize("around", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_linen_model_that_is_jitted_by_itself_is_refused(around):
    mix = mx.manifold(KEY, (X, Y), layers=(1,))[1]
    model = jax.jit(lambda x: LINEN.apply(VARIABLES, x))

    def mixed(x):
        with mx.hidden.linen(mix, after=["blocks_0"]):
            return model(x)

    with pytest.raises(ValueError, match=JITTED):
        around(mixed)(X)
    oracle.assert_close(
        model(X), np.asarray(LINEN.apply(VARIABLES, X))
    )  # the cached trace is unmixed
    with pytest.raises(ValueError, match=KEPT):
        mixed(X)


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, x: model.lower(x),
        lambda model, x: model.trace(x),
        lambda model, x: model.eval_shape(x),
        lambda model, x: jax.eval_shape(model, x),
        lambda model, x: jax.make_jaxpr(lambda x: model(x))(x),
    ],
    ids=["lower", "trace", "eval_shape", "jax.eval_shape", "make_jaxpr"],
)
def test_so_is_one_that_is_traced_but_not_run(ask):
    net, mix = Nnx(nnx.Rngs(0)), mx.manifold(KEY, (X, Y), layers=(1,))[1]
    net.eval()
    for jitted, within in [
        (jax.jit(partial(LINEN.apply, VARIABLES)), mx.hidden.linen(mix, ["blocks_0"])),
        (nnx.jit(lambda x: net(x)), mx.hidden.nnx(net, mix, ["blocks/0"])),
    ]:
        with pytest.raises(ValueError, match=JITTED), within:
            ask(jitted, X)


@pytest.mark.parametrize("jit", [jax.jit, nnx.jit])
def test_an_nnx_model_that_is_jitted_by_itself_is_refused(jit):
    model, mix = Nnx(nnx.Rngs(0)), mx.manifold(KEY, (X, Y), layers=(1,))[1]
    model.eval()
    jitted = jit(lambda x: model(x))
    with (
        pytest.raises(ValueError, match=JITTED),
        mx.hidden.nnx(model, mix, after=["blocks/0"]),
    ):
        jitted(X)
    oracle.assert_close(jitted(X), np.asarray(model(X)))
    with (
        pytest.raises(ValueError, match=KEPT),
        mx.hidden.nnx(model, mix, after=["blocks/0"]),
    ):
        jitted(X)


def test_what_keeps_no_trace_may_stand_between():
    mix = mx.manifold(KEY, (X, Y), layers=(1,))[1]

    def loss(x):
        return jnp.sum(jnp.asarray(LINEN.apply(VARIABLES, x)) ** 2)

    def mixed(x):
        with mx.hidden.linen(mix, after=["blocks_0"]):
            one = jax.grad(jax.checkpoint(loss))(x)
            _, several = jax.lax.scan(
                lambda _, x: (None, jax.grad(loss)(x)), None, x[None]
            )
        return one, several[0]

    one, of_scan = jax.jit(mixed)(X)
    oracle.assert_close(one, np.asarray(of_scan))
    want = jax.grad(lambda x: jnp.sum(forward(mix, x) ** 2))(X)
    np.testing.assert_allclose(one, want, rtol=1e-4, atol=1e-5)


def test_a_loop_of_nnx_keeps_no_trace_either():
    class Loop(nnx.Module):
        def __init__(self):
            self.step = nnx.Linear(5, 5, rngs=nnx.Rngs(0))

        def __call__(self, x):
            def body(_, carry):
                step, x = carry
                return step, step(x)

            return nnx.fori_loop(0, 2, body, (self.step, x))[1]

    model, mix = Loop(), mx.manifold(KEY, (X, Y), layers=(1,))[1]
    with mx.hidden.nnx(model, mix, after=["step"]):
        got = model(X)
    once = mix.at(1).inputs(model.step(X))
    oracle.assert_close(got, np.asarray(mix.at(1).inputs(model.step(once))))


def scanned(model):
    def body(_, x):
        return None, model(x)

    return lambda x: jax.lax.scan(body, None, x[None])[1][0]


def chosen(model):
    return lambda x: jax.lax.cond(x.sum() < jnp.inf, model, jnp.ones_like, x)


@pytest.mark.skipif(jax.__version_info__ < (0, 8), reason="JAX 0.7 keeps it mixed")
@pytest.mark.parametrize(
    ("flavour", "wrap"),
    [("linen", jax.checkpoint), ("linen", scanned), ("nnx", chosen)],
)
def test_what_was_made_outside_is_mixed_within_and_only_there(wrap, flavour):
    net = Nnx(nnx.Rngs(0))
    net.eval()
    plain: Any = (
        (lambda x: net(x)) if flavour == "nnx" else partial(LINEN.apply, VARIABLES)
    )
    model = wrap(lambda x: plain(x)[:, :1] * jnp.ones_like(x))

    def mixed(key, x):
        mix = mx.manifold(key, (x, Y), layers=(1,))[1]
        if flavour == "nnx":
            within = mx.hidden.nnx(net, mix, after=["blocks/0"])
        else:
            within = mx.hidden.linen(mix, after=["blocks_0"])
        with within:
            return model(x)

    want = np.asarray(plain(X)[:, :1] * jnp.ones_like(X))
    drawn, keys = [], jax.random.split(KEY, 2)
    for key in keys:  # each ``jit`` is traced again
        drawn.append(jax.jit(partial(mixed, key))(X))
        oracle.assert_close(jax.jit(lambda x: model(x))(X), want)
    assert not np.allclose(drawn[0], want, atol=1e-3)
    assert not np.allclose(drawn[0], drawn[1], atol=1e-3)
    oracle.assert_close(mixed(keys[1], X), np.asarray(drawn[1]))
    oracle.assert_close(model(X), want)
    with pytest.raises(ValueError, match=r"`jax.checkpoint`, .*: create these within"):
        mixed(KEY, X)
