"""Mutation tests of the laws: a method that deviates from its draw must break one.

Each mutation changes the drawn mix before it is applied, as a defect between draw and
apply would. The laws check the returned batch and mix against the method's unmutated
draw.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mixup_jax as mx
from mixup_jax._core import blend as arithmetic
from tests import oracle, test_laws
from tests.methods import KINDS, METHODS, Choice, Method

SIZE = 8
BATCH = oracle.images(SIZE)
KEY = jax.random.key(test_laws.SEED)
GRID = mx.regions.grid(BATCH[0])
LAWS = [test_laws.assert_equation, test_laws.assert_shares, test_laws.assert_follows]


def kinds_of(method: Method) -> set[str]:
    """Return the names of a row's expectations, or of those of a choice's parts."""
    if isinstance(method.expected, Choice):
        return set().union(*map(kinds_of, method.expected.parts))
    return {method.expected.__name__}


def is_only(method: Method, *names: str) -> bool:
    """Return whether all expectations of a row have one of these names."""
    return kinds_of(method) <= set(names)


def with_first(mix: mx.Mix, **changes: Any) -> mx.Mix:
    """Return a mix with changes to its first source."""
    first, *others = mix.sources
    return dataclasses.replace(
        mix, sources=(dataclasses.replace(first, **changes), *others)
    )


# One weight for all positions. (A layer, too: seed and laws are for the inputs.)
OF_NO_PLACE = ("blend", "untouched", "broken_stick", "moved_away", "layer")


def corners() -> tuple[jax.Array, jax.Array]:
    start = jnp.tile(jnp.array([[1, 2]], jnp.int32), (SIZE, 1))
    return start, start + 2


# The mutations. Each returns None for rows that it would not change.


def a_box_for_the_region(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Paste a box instead of the region that was drawn."""
    if is_only(method, "box", "salient", "untouched"):
        return None
    return with_first(mix, region=mx.regions.Box(*corners(), GRID))


def everywhere_for_the_region(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Blend everywhere instead of in the region that was drawn."""
    if is_only(method, *OF_NO_PLACE):
        return None
    return with_first(mix, region=mx.regions.Everywhere())


def all_layers_for_one(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Move the mix of the inputs to a layer other than the one that was drawn."""
    if not is_only(method, "layer"):
        return None
    region = dataclasses.replace(mix.region, drawn=1 - mix.region.drawn)  # type: ignore
    return with_first(mix, region=region)


def another_place_for_the_box(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Paste a box of the same size one position further."""
    if not is_only(method, "box", "salient", "window"):
        return None
    region: Any = mix.region
    further = np.where(np.asarray(region.stop) < np.array([GRID.sizes]), 1, -1)
    further = jnp.asarray(further, jnp.int32)
    moved = {"start": region.start + further, "stop": region.stop + further}
    return with_first(mix, region=dataclasses.replace(region, **moved))


def the_identity_for_the_window(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Paste the partner's content in place, without resizing."""
    if not is_only(method, "window"):
        return None
    region: Any = mix.region
    return with_first(mix, region=mx.regions.Box(region.start, region.stop, GRID))


def another_part_for_the_window(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Show the end of the partner at its original scale."""
    if not is_only(method, "window"):
        return None
    region: Any = mix.region
    side = region.stop - region.start
    shown = {"first": region.first + region.extent - side, "extent": side}
    return with_first(mix, region=dataclasses.replace(region, **shown))


def another_width_for_the_bell(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Blend in a wider bell."""
    if not is_only(method, "bell"):
        return None
    region: Any = mix.region
    wider = dataclasses.replace(region, width=region.width * 1.05)
    return with_first(mix, region=wider)


def the_other_side_of_the_field(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Paste where the example's own content should stay."""
    if not is_only(method, "field"):
        return None
    region: Any = mix.region
    return with_first(mix, region=dataclasses.replace(region, own=~region.own))


def own_for_partner(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Give the example's own content the partner's weight, in inputs and labels."""
    if is_only(method, "untouched") or method.keeps_labels:
        return None
    swapped = dataclasses.replace(mix, lam=1 - mix.lam)
    return with_first(swapped, lam=1 - mix.sources[0].lam)


def the_second_partner_for_the_first(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Swap the first two partners, but not their shares."""
    if not is_only(method, "broken_stick"):
        return None
    first, second, *others = mix.sources
    swapped = (
        dataclasses.replace(second, lam=first.lam),
        dataclasses.replace(first, lam=second.lam),
    )
    return dataclasses.replace(mix, sources=(*swapped, *others))


def the_last_partner_left_out(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Give the last partner's share to the one before it."""
    if not is_only(method, "broken_stick"):
        return None
    return dataclasses.replace(mix, sources=mix.sources[:-1])


def another_partner(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Mix with the example two places beyond the partner."""
    if is_only(method, "untouched"):
        return None
    move = mx.pairings.given(np.arange(SIZE))(KEY, BATCH).move
    partner = (mix.partner + 2) % SIZE
    return with_first(mix, partner=partner, move=move)


def the_label_weight_in_the_inputs(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Give the inputs the weight of the labels, where the two differ."""
    if not method.keeps_labels:
        return None
    return with_first(mix, lam=mix.lam)


def the_input_weight_for_the_labels(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Give the labels another weight than the one drawn: its square."""
    if is_only(method, "untouched") or method.keeps_labels:
        return None
    return dataclasses.replace(mix, lam=mix.lam**2)


def labels_left_alone(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Keep each example's own label although its inputs are mixed."""
    if is_only(method, "untouched") or method.keeps_labels:
        return None
    return dataclasses.replace(mix, lam=jnp.ones_like(mix.lam), mixes_targets=False)


def labels_mixed_as_well(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Mix labels that should be unchanged."""
    if not method.keeps_labels:
        return None
    return dataclasses.replace(mix, lam=mix.lam - 0.25, mixes_targets=True)


def nothing_left_alone(method: Method, mix: mx.Mix) -> mx.Mix | None:
    """Mix where nothing should be mixed."""
    if not is_only(method, "untouched"):
        return None
    partner = np.arange(SIZE) ^ 1
    return mx.Mix.from_pairs(0.5, partner)


MUTATIONS: list[Callable[[Method, mx.Mix], mx.Mix | None]] = [
    a_box_for_the_region,
    everywhere_for_the_region,
    all_layers_for_one,
    another_place_for_the_box,
    the_identity_for_the_window,
    another_part_for_the_window,
    another_width_for_the_bell,
    the_other_side_of_the_field,
    own_for_partner,
    the_second_partner_for_the_first,
    the_last_partner_left_out,
    another_partner,
    the_label_weight_in_the_inputs,
    the_input_weight_for_the_labels,
    labels_left_alone,
    labels_mixed_as_well,
    nothing_left_alone,
]


@functools.cache
def original(name: str) -> test_laws.Case:
    return test_laws.run(name, BATCH)


@functools.cache
def broken(name: str, mutation: Any) -> list[str]:
    """Return the names of the laws that a mutated row breaks."""
    case = original(name)

    @mx.mixer
    def mutant(key, batch):
        del key, batch
        return mutation(case.method, case.mix)

    mixed, mix = mutant(KEY, BATCH)
    case, found = dataclasses.replace(case, mixed=mixed, mix=mix), []
    for law in LAWS:
        try:
            law(case)
        except AssertionError:
            found.append(law.__name__)
    return found


# By default one row of each kind is mutated, in slow tests all rows.
MUTATED = sorted({*KINDS, "saliencymix", "resizemix", "smoothmix", "dirichlet"})
ROWS = [
    pytest.param(MUTATED, id="few"),
    pytest.param(list(METHODS), id="all", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", METHODS)
def test_a_row_as_it_is_breaks_no_law(name):
    for law in LAWS:
        law(original(name))


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.__name__)
def test_every_mutation_breaks_a_law(mutation, rows):
    names = [n for n in rows if mutation(METHODS[n], original(n).mix) is not None]
    assert names, "no row is mutated"
    survived = [name for name in names if not broken(name, mutation)]
    assert not survived


def test_every_law_is_broken_by_every_kind():
    kinds = set().union(*map(kinds_of, METHODS.values()))
    met = {law.__name__: set() for law in LAWS}
    for name in MUTATED:
        kind = kinds_of(METHODS[name])
        if len(kind) > 1:
            continue
        for mutation in MUTATIONS:
            if mutation(METHODS[name], original(name).mix) is not None:
                for law in broken(name, mutation):
                    met[law] |= kind
    assert met == dict.fromkeys(met, kinds)


# Mutations of the arithmetic, for any draw.


def arithmetic_breaks(x: Any) -> bool:
    """Return whether the sum of three terms of ``x`` is wrong."""
    case = original("dirichlet")
    try:
        oracle.assert_terms(case.mix.inputs(x), case.expected.inputs(x))
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_that_is_rounded_twice_is_seen(monkeypatch, dtype):
    def rounded_at_each(w, x, *rows):
        (weights, _), behind = w, rows[-1]
        for k, front in reversed(list(enumerate((x, *rows[:-1])))):
            mixed = arithmetic.blend(weights[k], front, behind.astype(front.dtype))
            behind = mixed.astype(dtype)
        return behind

    x = jnp.asarray(BATCH[0], dtype)
    assert not arithmetic_breaks(x)
    monkeypatch.setattr(arithmetic, "_back_to_front", rounded_at_each)
    assert arithmetic_breaks(x)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_that_are_rounded_to_half_precision_are_seen(monkeypatch, dtype):
    blend = arithmetic.blend

    def of_narrow_weights(w, x, y):
        return blend(w.astype(dtype).astype(w.dtype), x, y)

    monkeypatch.setattr(arithmetic, "blend", of_narrow_weights)
    assert arithmetic_breaks(jnp.asarray(BATCH[0], dtype))


def test_a_nan_that_passes_a_weight_of_zero_is_seen(monkeypatch):
    mix = mx.Mix.from_pairs(jnp.array([1.0, 0.0, 0.5]), jnp.array([1, 0, 0]))
    x = jnp.array([[1.0], [2.0], [3.0]])

    def breaks(x):
        try:
            oracle.assert_terms(mix.inputs(x), oracle.blend(mix).inputs(x))
        except AssertionError:
            return True
        return False

    spoilt = [x.at[1].set(bad) for bad in (jnp.nan, jnp.inf)]
    assert not any(map(breaks, spoilt))
    monkeypatch.setattr(arithmetic, "blend", lambda w, x, y: w * x + (1 - w) * y)
    assert all(map(breaks, spoilt))
