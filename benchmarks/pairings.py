"""What does each pairing communicate, on each layout of a batch?

    python -m benchmarks.pairings [--quick] [--out DIR]

Mixup of 32 images (24 for 3 per device) and their dense labels with each pairing,
compiled for eight devices and not run. Reports the collectives, and how much of the
images, the dense labels and the class ids (one number per example) they leave on one
device, as a fraction of those of the whole batch.
"""

import collections
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
from jax.sharding import AxisType

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import command_line
import mixup_jax as mx
from benchmarks import _scripts
from benchmarks._programs import Sent, sent

DEVICES, SIZE, IMAGE, CLASSES = 8, 32, (8, 8, 4), 8
KINDS = {"Auto": AxisType.Auto, "Explicit": AxisType.Explicit}


class Layout(NamedTuple):
    """The layout of a batch on a mesh, and the wrapper of the mixer, if any."""

    mesh: dict[str, int]
    images: jax.P
    labels: jax.P
    kind: str
    around: Any = None
    size: int = SIZE


_TWO, _BESIDE = {"data": 4, "fsdp": 2}, {"data": 4, "model": 2}
_ROWS = jax.P(("data", "fsdp"))
_PLACES = {
    "data": ({"data": 8}, jax.P("data"), jax.P("data")),
    "data and fsdp": (_TWO, _ROWS, _ROWS),
    "data, of two axes": (_BESIDE, jax.P("data"), jax.P("data")),
    "data, height": (_BESIDE, jax.P("data", "model"), jax.P("data")),
    "data, channels": (_BESIDE, jax.P("data", None, None, "model"), jax.P("data")),
}
LAYOUTS = {
    f"{name}, {kind}": Layout(*place, kind)
    for name, place in _PLACES.items()
    for kind in KINDS
}
LAYOUTS |= {
    f"data, 3 a device, {kind}": Layout(*_PLACES["data"], kind, size=3 * DEVICES)
    for kind in KINDS
}
LAYOUTS |= {
    name: Layout(*_PLACES["data"], "Auto", around)
    for name, around in (("per_device", mx.per_device), ("whole_batch", mx.whole_batch))
}
NEAR = mx.pairings.label_kernel(bandwidth=1.0)


def backwards(key: jax.Array, batch: Any) -> mx.Partners:
    """Pair the first example with the last, and so on, by a given index."""
    return mx.pairings.given(range(len(batch[0]))[::-1])(key, batch)


PAIRINGS: dict[str, mx.Pairing] = {
    "neighbour": mx.pairings.neighbour,
    "reverse, blocks of 4": partial(mx.pairings.reverse, block=4),
    "reverse": mx.pairings.reverse,
    "reverse, blocks of 6": partial(mx.pairings.reverse, block=6),
    "roll": mx.pairings.roll,
    "roll, by 5": partial(mx.pairings.roll, shift=5),
    "nth, 2 of 3": partial(mx.pairings.nth, n=2, of=3),
    "nth, 8 of 15": partial(mx.pairings.nth, n=8, of=15),
    "given": backwards,
    "permutation": mx.pairings.permutation,
    "derangement": mx.pairings.derangement,
    "same_class": mx.pairings.same_class,
    "other_class": mx.pairings.other_class,
    "weighted, label_kernel": mx.pairings.weighted(NEAR),
    "weighted, nearest": mx.pairings.weighted(mx.pairings.nearest(1)),
    "weighted, of_same_class": mx.pairings.weighted(mx.pairings.of_same_class),
}


def compiled(pairing: mx.Pairing, layout: Layout) -> Any:
    """Compile Mixup for a batch of this layout."""
    kinds = (KINDS[layout.kind],) * len(layout.mesh)
    devices = jax.devices()[:DEVICES]
    mesh = jax.make_mesh(
        tuple(layout.mesh.values()), tuple(layout.mesh), kinds, devices=devices
    )

    def like(shape: tuple[int, ...], dtype: Any, spec: jax.P) -> Any:
        sharding = jax.NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    mixer: mx.Mixer = partial(mx.mixup, pairing=pairing)
    if layout.around is None:
        run: Any = lambda *given: mixer(*given)[0]  # noqa: E731
    else:
        mixer = layout.around(mixer, "data")
        run = jax.shard_map(
            lambda *given: mixer(*given)[0],
            mesh=mesh,
            in_specs=(jax.P(), jax.P("data")),
            out_specs=jax.P("data"),
        )
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = (
        like((layout.size, *IMAGE), jnp.float32, layout.images),
        like((layout.size, CLASSES), jnp.float32, layout.labels),
    )
    with jax.set_mesh(mesh):
        return jax.jit(run).lower(like((), key.dtype, jax.P()), batch).compile()


def cost(pairing: str, layout: str) -> dict[str, Any]:
    """Return a row: the collectives of a pairing on a layout, and their results."""
    found = sent(compiled(PAIRINGS[pairing], LAYOUTS[layout]))
    kinds = collections.Counter(each.kind for each in found)
    size = LAYOUTS[layout].size
    whole = {"images": size * np.prod(IMAGE), "labels": size * CLASSES, "ids": size}
    left = dict.fromkeys(whole, 0)
    for each in found:
        left[_what(each)] += int(np.prod(each.shape))
    return {
        "pairing": pairing,
        "layout": layout,
        "collectives": ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())),
        **{what: float(left[what] / whole[what]) for what in whole},
    }


def _what(each: Sent) -> str:
    """Return what an array holds: class ids, labels or images."""
    if len(each.shape) < 2 or each.dtype[0] != "f":
        return "ids"
    # Images may be flattened to rows.
    flat = each.shape[-1] > CLASSES
    return "images" if len(each.shape) > 3 or flat else "labels"


def picture(rows: list[dict[str, Any]]) -> Any:
    """Plot how much of the images each pairing leaves on a device, by layout."""
    names = {what: list(dict.fromkeys(r[what] for r in rows)) for what in rows[0]}
    pairings, layouts = names["pairing"], names["layout"]
    shown = np.zeros((len(pairings), len(layouts)))
    figure, axis = plt.subplots(
        figsize=(3 + 0.6 * len(layouts), 2.5 + 0.3 * len(shown))
    )
    for row in rows:
        place = pairings.index(row["pairing"]), layouts.index(row["layout"])
        shown[place] = row["images"]
        axis.text(
            place[1], place[0], f"{row['images']:.2g}", ha="center", va="center", size=8
        )
    axis.imshow(shown, cmap="Blues", vmin=0, vmax=2.5, aspect="auto")
    axis.set_xticks(range(len(layouts)), layouts, rotation=60, ha="right")
    axis.set_yticks(range(len(pairings)), pairings)
    axis.set_title("images left on one device, in batches")
    figure.tight_layout()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = _scripts.arguments("pairings", __doc__)
    args = parser.parse_args(argv)
    jax.config.update(
        "jax_num_cpu_devices", DEVICES
    )  # before the backend is initialized
    if len(jax.devices()) < DEVICES:
        parser.error(
            f"expected {DEVICES} devices; got {len(jax.devices())}. Run it on the "
            "CPU: JAX_PLATFORMS=cpu."
        )
    _scripts.check_out(parser, "pairings", args)
    layouts = list(LAYOUTS)[:2] if args.quick else list(LAYOUTS)
    cases = {f"{p}, {q}": (p, q) for p in PAIRINGS for q in layouts}
    with command_line.Interruption() as interruption:
        found = _scripts.measured(interruption, "pairings", cases, lambda c: cost(*c))
        rows = list(found.values())
        if rows:
            _scripts.show("Communication of each pairing", rows)
            missing = [case for case in cases if case not in found]
            record = {"rows": rows}
            _scripts.write("pairings", __doc__, args, record, picture(rows), missing)


if __name__ == "__main__":
    command_line.start(main)
