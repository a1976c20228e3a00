"""The rows of a figure: arrays that the mix computes, with titles."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mixup_jax import follow
from mixup_jax._core.mix import Mix
from mixup_jax.plot import _labels
from mixup_jax.plot._kinds import CHANNELS


class Content(NamedTuple):
    """The parts of a batch that are shown.

    Attributes:
      inputs: the array to draw, real ``[B, ...]``.
      label: class ids ``[B]``, class weights or numbers ``[B, K]``, numbers ``[B]``, or
        ``None``.
      maps: an array with a value or with class weights at each position, or ``None``.
      rows: indices of the examples to show.
      classes: the names of the classes, or ``None``.
    """

    inputs: Any
    label: Any
    maps: Any
    rows: Sequence[int]
    classes: Sequence[str] | None


class Row(NamedTuple):
    """One row of a figure, with a panel for each example that is shown.

    Attributes:
      name: the label of the row.
      values: ``[n, ...]``.
      titles: the title of each panel.
      maps: ``[n, ...]`` to be drawn beside the values, or ``None``.
      is_weight: whether the values are weights.
    """

    name: str
    values: np.ndarray
    titles: Sequence[str]
    maps: np.ndarray | None = None
    is_weight: bool = False


def rows_of(shown: Content, mixes: Mapping[str, Mix]) -> list[Row]:
    """Return the rows of a figure: own, then partners and mixture for each mix.

    The weights of a single mix follow; several mixes are compared by their mixtures.
    """
    rows, partners = [_own(shown)], []
    for name, mix in mixes.items():
        before, partners = partners, _partners(shown, mix)
        if [row.titles for row in before] != [row.titles for row in partners]:
            rows += partners
        rows.append(_mixed(name, shown, mix))
        rows += _weights(shown, mix) if len(mixes) == 1 else []
    return rows


def _own(shown: Content) -> Row:
    values = _at(shown.inputs, shown)
    maps = None if shown.maps is None else _classes(_at(shown.maps, shown), shown)
    return Row("own", values, _numbered(shown.rows, shown.label, shown), maps)


def _partners(shown: Content, mix: Mix) -> list[Row]:
    """Return a row for each source: its partners' content before mixing."""
    found = []
    for k, source in enumerate(mix.sources):
        behind = _from(mix, k)
        label = None if shown.label is None else behind.partners(shown.label)
        places = np.asarray(source.partner)[list(shown.rows)].tolist()
        titles = [
            "itself" if place == row else title
            for row, place, title in zip(
                shown.rows, places, _numbered(places, label, shown)
            )
        ]
        maps = None
        if shown.maps is not None:
            maps = _classes(_at(behind.partners(shown.maps), shown), shown)
        name = "partner" if len(mix.sources) == 1 else f"partner {k + 1}"
        found.append(Row(name, _at(behind.partners(shown.inputs), shown), titles, maps))
    return found


def _mixed(name: str, shown: Content, mix: Mix) -> Row:
    titles = [f"lam = {lam:.2f}" for lam in _at(mix.lam, shown)]
    if shown.label is not None:
        said = _labels.mixed_words(mix, shown.label, shown.rows, shown.classes)
        titles = [f"{lam}\n{label}" for lam, label in zip(titles, said)]
    maps = None if shown.maps is None else _mixed_maps(shown, mix)
    return Row(name, _at(mix.inputs(shown.inputs), shown), titles, maps)


def _mixed_maps(shown: Content, mix: Mix) -> np.ndarray:
    if not jnp.issubdtype(shown.maps.dtype, jnp.integer):
        mixed = mix.targets(follow.maps(shown.maps)).tree
        return _classes(_at(mixed, shown), shown)
    # Blended ids have no mixture, so the class of the largest share is shown. Where ids
    # are pasted, it is the pasted one.
    terms = mix.terms(shown.maps, like=shown.maps)
    ids = [np.asarray(each)[list(shown.rows)] for _, each in terms]
    shares = [np.broadcast_to(share, shown.maps.shape) for share, _ in terms]
    shares = [each[list(shown.rows)] for each in shares]
    totals = [sum((a == b) * w for b, w in zip(ids, shares)) for a in ids]
    heaviest = np.argmax(totals, axis=0)[None]
    return np.take_along_axis(np.stack(ids), heaviest, axis=0)[0]


def _weights(shown: Content, mix: Mix) -> list[Row]:
    """Return the own weight at each position; with several sources, all weights."""
    shares, left = [], np.float32(1)
    for k in range(len(mix.sources)):
        kept = _kept(shown, _from(mix, k))
        shares.append(left * kept)
        left = left * (1 - kept)
    names = ["own weight"]
    if len(shares) > 1:
        partners = [f"weight of\npartner {k + 1}" for k in range(len(shares))]
        names, shares = ["own weight", *partners], [*shares, left]
    return [
        Row(name, values, [f"mean {each.mean():.2f}" for each in values], None, True)
        for name, values in zip(names, shares)
    ]


def _kept(shown: Content, mix: Mix) -> np.ndarray:
    """Return the weight of the content in front, in the shape of the values shown."""
    grid, shape = mix.region.grid, shown.inputs.shape
    axes, sizes = (
        ((), (1,)) if grid is None else (grid.axes_of(shown.inputs), grid.sizes)
    )
    kept = np.asarray(mix.coverage(sizes))[list(shown.rows)]
    ones = [n if axis in axes else 1 for axis, n in enumerate(shape)][1:]
    return np.broadcast_to(kept.reshape(-1, *ones), (len(kept), *shape[1:]))


def _from(mix: Mix, k: int) -> Mix:
    """Return the mix of the k-th source and those behind it."""
    return dataclasses.replace(mix, sources=mix.sources[k:])


def _at(values: Any, shown: Content) -> np.ndarray:
    """Return the rows that are shown, as a NumPy array."""
    found = np.asarray(values)[list(shown.rows)]
    return found if found.dtype.kind in "iuf" else found.astype(np.float32)


def _classes(maps: np.ndarray, shown: Content) -> np.ndarray:
    """Return the class of largest weight at each position, or class ids unchanged."""
    shape = shown.inputs.shape
    has_channels = len(shape) > 3 or (len(shape) == 3 and shape[-1] <= CHANNELS)
    has_classes = maps.ndim > len(shape) - has_channels and maps.shape[-1] > 1
    return maps.argmax(axis=-1) if has_classes else maps


def _numbered(places: Sequence[int], label: Any, shown: Content) -> list[str]:
    if label is None:
        return [f"#{place}" for place in places]
    said = _labels.words(label, shown.rows, shown.classes)
    return [f"#{place}: {each}" for place, each in zip(places, said)]
