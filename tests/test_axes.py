"""Spatial axes: named explicitly for any layout, refused where a shape is ambiguous."""

import functools
import pickle
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from tests.oracle import assert_terms

KEY = jax.random.key(5)
SIZE = 4
MIXERS = {
    "cutmix": mx.cutmix,
    "fmix": mx.fmix,
    "resizemix": mx.resizemix,
    "smoothmix": mx.smoothmix,
}


def inputs_of(shape: tuple[int, ...]) -> Any:
    return np.zeros((SIZE, *shape), np.float32)


def calls_in(error: BaseException) -> list[str]:
    """Return the lines of a message that the user can paste."""
    lines = [line for line in str(error).splitlines() if line.startswith("    ")]
    return [line.partition("  # ")[0].strip() for line in lines]


def refused(mixer: mx.Mixer, inputs: Any) -> list[str]:
    """Return the calls that are advised where the axes are ambiguous."""
    with pytest.raises(ValueError, match="expected spatial axes between") as caught:
        jax.eval_shape(mixer, KEY, (inputs, None))
    assert type(caught.value) is ValueError
    return calls_in(caught.value)


def grid_of(mixer: Any, inputs: Any) -> mx.regions.Grid:
    """Return the grid that a mixer cuts."""
    _, mix = jax.eval_shape(mixer, KEY, (inputs, None))
    return mix.region.grid


def pasted(call: str, **scope: Any) -> Any:
    """Return the mixer that results from pasting the call."""
    scope |= {"mixup_jax": mx, "functools": functools}
    return lambda key, batch: eval(call, scope | {"key": key, "batch": batch})


# What a shape determines


UNCLEAR = {
    "[B, 3, H, W]": ((3, 8, 9), [(2, 3), (1, 2)]),
    "[B, 4, 64, 64]": ((4, 64, 64), [(2, 3), (1, 2)]),
    "[B, 1, H, W]": ((1, 9, 9), [(2, 3), (1, 2)]),
    "[B, 2, H, W], small": ((2, 5, 5), [(2, 3), (1, 2)]),
    "[B, C, T]": ((3, 9), [(1,), (2,), (1, 2)]),
    "[B, 1, T]": ((1, 9), [(1,), (2,), (1, 2)]),
    "[B, C, T], many channels": ((64, 65), [(1,), (2,), (1, 2)]),
    "[B, H, W]": ((9, 9), [(1,), (2,), (1, 2)]),
    "[B, C, T, H, W]": ((3, 5, 6, 7), [(2, 3, 4), (1, 2, 3)]),
    "[B, 1, D, H, W]": ((1, 6, 6, 6), [(2, 3, 4), (1, 2, 3)]),
    "one position": ((1, 1, 3), [(2, 3), (1, 2)]),
    "one position of many channels": ((1, 1, 512), [(2, 3), (1, 2)]),
    "one position on three axes": ((1, 1, 1, 2), [(2, 3, 4), (1, 2, 3)]),
    "[B, T]": ((9,), [(1,)]),
    "one position on four axes": ((1, 1, 1, 1, 2), [(2, 3, 4, 5), (1, 2, 3, 4)]),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_shape_that_is_unclear_is_refused_with_calls_that_work(name):
    shape, readings = UNCLEAR[name]
    inputs = inputs_of(shape)
    method = list(MIXERS)[list(UNCLEAR).index(name) % len(MIXERS)]
    calls = refused(MIXERS[method], inputs)
    for call, axes in zip(calls, readings, strict=True):
        assert call == f"mixup_jax.{method}(key, batch, spatial={axes})"
        assert grid_of(pasted(call), inputs).axes == axes
    with pytest.raises(ValueError, match="Name the spatial axes") as caught:
        mx.regions.grid(inputs)
    for call, axes in zip(calls_in(caught.value), readings, strict=True):
        assert eval(call, {"mixup_jax": mx, "inputs": inputs}).axes == axes


CLEAR = {
    "[B, H, W, 3]": ((8, 9, 3), (1, 2)),
    "[B, H, W, 4]": ((64, 64, 4), (1, 2)),
    "few rows": ((3, 9, 4), (1, 2)),
    "many channels": ((5, 9, 64), (1, 2)),
    "one row": ((1, 9, 1), (1, 2)),
    "[B, T, C]": ((9, 8), (1,)),
    "[B, T, 1]": ((9, 1), (1,)),
    "few frames": ((3, 8, 9, 4), (1, 2, 3)),
    "volumes of many channels": ((5, 6, 7, 8), (1, 2, 3)),
    "six axes": ((2, 2, 2, 2, 9), (1, 2, 3, 4)),
}


@pytest.mark.parametrize("name", CLEAR)
def test_channels_last_need_no_name(name):
    shape, axes = CLEAR[name]
    inputs = inputs_of(shape)
    assert grid_of(mx.cutmix, inputs).axes == axes
    assert mx.regions.grid(inputs).axes == axes


def test_the_leaf_with_most_axes_decides():
    mask, image = inputs_of((8, 9)), inputs_of((8, 9, 3))
    for both in ({"a": mask, "b": image}, {"a": image, "b": mask}):
        assert grid_of(mx.cutmix, both).axes == (1, 2)
    image = inputs_of((3, 8, 9))
    first, last = refused(mx.cutmix, {"a": mask, "b": image})
    assert grid_of(pasted(first), {"a": mask, "b": image}).axes == (2, 3)
    with pytest.raises(ValueError, match="leaf with the spatial sizes"):
        grid_of(pasted(last), {"a": mask, "b": image})


# Which call is advised


def box_of(key, batch, region=mx.regions.box):
    return mx.compose(
        key,
        batch,
        ratio=mx.ratios.uniform(),
        pairing=mx.pairings.roll,
        region=region,
    )


@mx.mixer
def plain(key, batch):
    """A user-defined mixer that takes no axes."""
    return box_of(key, batch)


@mx.mixer
def narrow(key, batch, spatial=None):
    """A user-defined mixer that draws with part of another mixer and passes axes on."""
    region = partial(mx.regions.box, max_size=0.5)
    draw = mx.draw_of(partial(mx.cutmix, region=region, spatial=spatial))
    return draw(key, batch)


def own_box(key, lam, inputs, partners, *, spatial=None):
    return mx.regions.box(key, lam, inputs, partners, spatial=spatial)


def deaf_box(key, lam, inputs, partners, *, spatial=None):
    del spatial
    return mx.regions.box(key, lam, inputs, partners)


@mx.mixer
def deaf(key, batch, *, spatial=None):
    """A user-defined mixer that does not pass its axes on."""
    del spatial
    return box_of(key, batch, own_box)


SALIENCY = np.ones((SIZE, 8, 9), np.float32)
TOLD = {
    "options": (
        partial(partial(mx.cutmix, alpha=0.2), pairing=mx.pairings.roll),
        "mixup_jax.cutmix(key, batch, alpha=0.2, pairing=mixup_jax.pairings.roll, "
        "spatial=(2, 3))",
    ),
    "a region with options": (
        partial(mx.cutmix, region=partial(mx.regions.blob, decay=5.0)),
        "mixup_jax.cutmix(key, batch, region=functools.partial("
        "mixup_jax.regions.blob, decay=5.0), spatial=(2, 3))",
    ),
    "a part of the user's": (
        partial(mx.smoothmix, region=own_box),
        "mixup_jax.smoothmix(key, batch, region=region, spatial=(2, 3))",
    ),
    "no axes in words": (
        partial(mx.fmix, spatial=None),
        "mixup_jax.fmix(key, batch, spatial=(2, 3))",
    ),
    "an array": (
        partial(mx.saliencymix, saliency=SALIENCY),
        "mixup_jax.saliencymix(key, batch, saliency=saliency, spatial=(2, 3))",
    ),
    "traced": (
        jax.jit(lambda k, b: mx.cutmix(k, b, alpha=jnp.exp(b[0].min()))),
        "mixup_jax.cutmix(key, batch, alpha=alpha, spatial=(2, 3))",
    ),
    "by keyword": (
        lambda k, b: mx.resizemix(batch=b, key=k),
        "mixup_jax.resizemix(key, batch, spatial=(2, 3))",
    ),
    "choose": (
        mx.choose([mx.mixup, partial(mx.fmix, alpha=2.0)], [0.5, 0.5]),
        "mixup_jax.fmix(key, batch, alpha=2.0, spatial=(2, 3))",
    ),
    "once_per_batch": (
        mx.once_per_batch(mx.smoothmix),
        "mixup_jax.smoothmix(key, batch, spatial=(2, 3))",
    ),
    "a mixer of the user's that hands axes on": (
        narrow,
        "narrow(key, batch, spatial=(2, 3))",
    ),
    "a mixer of the user's that takes none": (
        plain,
        "functools.partial(mixup_jax.regions.box, spatial=(2, 3))",
    ),
    "a region of the user's that takes none": (
        mx.mixer(lambda k, b: box_of(k, b, lambda *args: mx.regions.box(*args))),
        "functools.partial(mixup_jax.regions.box, spatial=(2, 3))",
    ),
    "a region of the user's that keeps its axes": (
        mx.mixer(lambda k, b: box_of(k, b, partial(deaf_box, spatial=(2, 3)))),
        "functools.partial(mixup_jax.regions.box, spatial=(2, 3))",
    ),
    "a mixer of the user's that keeps its axes": (
        partial(deaf, spatial=(2, 3)),
        "functools.partial(own_box, spatial=(2, 3))",
    ),
}
SCOPE = {
    "alpha": 1.0,
    "own_box": own_box,
    "narrow": narrow,
    "region": own_box,
    "saliency": SALIENCY,
}


@pytest.mark.parametrize("name", TOLD)
def test_the_advised_call_is_that_of_the_right_function(name):
    mixer, call = TOLD[name]
    inputs = inputs_of((3, 8, 9))
    first, last = refused(mixer, inputs)
    assert first == call
    assert last == call.replace("(2, 3)", "(1, 2)")
    again = pasted(first, **SCOPE)
    if call.startswith("functools.partial"):
        region = again(None, None)
        again = mx.mixer(lambda key, batch: box_of(key, batch, region))
    assert grid_of(again, inputs).axes == (2, 3)


@pytest.mark.parametrize("name", ["box", "blob", "bell", "resized", "salient"])
def test_a_region_that_is_drawn_by_hand_names_itself(name):
    draw, lam = getattr(mx.regions, name), jnp.full(SIZE, 0.5)
    options = {"saliency": SALIENCY} if name == "salient" else {}
    given = (lam, inputs_of((3, 8, 9)), mx.pairings.neighbour(KEY, (lam, None)))
    with pytest.raises(ValueError, match="expected spatial axes between") as caught:
        draw(KEY, *given, **options)
    call = calls_in(caught.value)[0]
    assert call == f"functools.partial(mixup_jax.regions.{name}, spatial=(2, 3))"
    again = partial(eval(call, {"mixup_jax": mx, "functools": functools}), **options)
    assert jax.eval_shape(again, KEY, *given)[0].grid.axes == (2, 3)


def test_in_a_dict_batch_and_pickled():
    mixer = mx.on_keys(mx.with_probability(0.5, mx.cutmix), inputs=["x", "z"])
    batch = {"x": inputs_of((3, 8, 9)), "z": inputs_of((8, 9)), "y": np.arange(SIZE)}
    with pytest.raises(ValueError, match="expected spatial axes") as caught:
        jax.eval_shape(mixer, KEY, batch)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert calls_in(again)[0] == "mixup_jax.cutmix(key, batch, spatial=(2, 3))"


# The result for axes that are named


LAYOUTS = {
    "video, one box through time": ((5, 6, 7, 2), (2, 3)),
    "video, a box of its own length": ((5, 6, 7, 2), (1, 2, 3)),
    "volumes": ((5, 6, 7), (1, 2, 3)),
    "volumes with channels": ((5, 6, 7, 1), None),
    "spectrograms": ((9, 7), (1, 2)),
    "spectrograms with a channel": ((9, 7, 1), None),
    "spectrograms, a band of frequencies": ((9, 7), (1,)),
    "channels first": ((3, 8, 7), (2, 3)),
    "channels first, over time": ((2, 13), (2,)),
    "waveforms": ((13,), (1,)),
    "few rows of many channels": ((4, 7, 9), (1, 2)),
}


def box(mix: Any, sizes: tuple[int, ...]) -> np.ndarray:
    """Return 0 inside the box of each example, 1 outside."""
    own = np.ones((SIZE, *sizes))
    for i in range(SIZE):
        corners = zip(np.asarray(mix.region.start)[i], np.asarray(mix.region.stop)[i])
        own[i][tuple(slice(a, b) for a, b in corners)] = 0
    return own


def bell(mix: Any, sizes: tuple[int, ...]) -> np.ndarray:
    """Return ``1 - exp(-|(q - center) / n|^2 / (2 width^2))``."""
    squares = np.zeros((SIZE, *sizes))
    for s, n in enumerate(sizes):
        apart = np.arange(n) - np.asarray(mix.region.centre)[:, s, None]
        shape = [SIZE, *[1] * len(sizes)]
        shape[1 + s] = n
        squares = squares + (apart.reshape(shape) / n) ** 2
    width = np.asarray(mix.region.width, np.float64).reshape(-1, *[1] * len(sizes))
    return 1 - np.exp(-squares / (2 * width**2))


def whole(mix: Any, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return each example resized into its box, by nearest neighbor."""
    seen = np.array(x)
    for i in range(SIZE):
        for s, axis in enumerate(axes):
            n = x.shape[axis]
            a, b = (int(c[i, s]) for c in (mix.region.start, mix.region.stop))
            places = np.arange(n)
            places[a:b] = (2 * np.arange(b - a) + 1) * n // (2 * max(b - a, 1))
            seen[i] = np.take(seen[i], places, axis - 1)
    return seen


FIELDS = {"fmix": lambda mix, sizes: np.asarray(mix.region.own), "smoothmix": bell}


@pytest.mark.parametrize("method", [*MIXERS, "saliencymix"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_named_axes_are_cut_and_no_others(layout, method):
    shape, spatial = LAYOUTS[layout]
    rng = np.random.default_rng(3)
    axes = tuple(range(1, len(shape))) if spatial is None else spatial
    sizes = tuple(shape[axis - 1] for axis in axes)
    normal = rng.normal(size=(SIZE, *shape)).astype(np.float32)
    x = {"float32": normal, "bfloat16": normal.astype(jnp.bfloat16)}
    whose = np.arange(SIZE, dtype=np.uint8).reshape(-1, *[1] * len(shape))
    if method != "smoothmix":
        x["uint8"] = np.broadcast_to(whose, (SIZE, *shape))
    options: dict[str, Any] = {"spatial": spatial}
    if method == "saliencymix":
        options["saliency"] = rng.uniform(size=(SIZE, *sizes)).astype(np.float32)
    (mixed, _), mix = jax.jit(partial(getattr(mx, method), **options))(KEY, (x, None))
    lam, partner = np.asarray(mix.lam), np.asarray(mix.partner)
    assert 0 < np.mean(lam) < 1
    own = FIELDS.get(method, box)(mix, sizes).astype(np.float64)
    w = np.expand_dims(own, [k for k in range(1, 1 + len(shape)) if k not in axes])
    for dtype, content in x.items():
        theirs = content[partner]
        if method == "resizemix":
            theirs = whole(mix, theirs, axes)
        slack = 1e-6 if method == "smoothmix" else 0.0
        assert_terms(mixed[dtype], [(w, content), (1 - w, theirs)], slack)
    if method == "smoothmix":
        np.testing.assert_allclose(lam, own.reshape(SIZE, -1).mean(axis=1), atol=1e-6)
        return
    kept = (np.asarray(mixed["uint8"]) == whose).reshape(SIZE, -1)
    counted = kept.sum(axis=1).astype(np.float32) / np.float32(kept.shape[1])
    np.testing.assert_array_equal(counted, lam)
