"""Apply exported functions to a batch, in this process or a fresh one.

Run by tests/test_export.py, on a folder of exported functions:

    python -m tests.exported FOLDER

User-defined parts are in tests/exported_parts.py, which is imported only after loading
has failed without it.
"""

import importlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mixup_jax as mx

IMAGES = np.linspace(0, 1, 4 * 6 * 6 * 3, dtype=np.float32).reshape(4, 6, 6, 3) ** 2
LABELS = np.eye(4, dtype=np.float32)


def batch_for(name: str) -> Any:
    """Return a batch for the mixer of that name."""
    if name == "on_keys":
        return {"image": IMAGES, "label": LABELS, "id": np.arange(4, dtype=np.int32)}
    if name == "follow":
        bright = IMAGES[..., 0] > 0.5
        inputs = {"image": IMAGES, "mask": mx.follow.masks(bright)}
        lengths = mx.follow.lengths(np.arange(4, dtype=np.int32))
        return inputs | {"lengths": lengths}, mx.follow.maps(IMAGES[..., :2])
    return IMAGES, LABELS


def made_by(mixer: Callable[..., Any], name: str) -> dict[str, Any]:
    """Return the results of a mixer, and of the functions then called on its mix."""
    batch, mix = mixer(jax.random.key(7), batch_for(name))
    follows, hidden = _afterwards(mix, IMAGES, LABELS)
    return {
        "type": type(mix).__name__,
        "moves": [str(source.move) for source in mix.sources],
        "regions": [type(source.region).__name__ for source in mix.sources],
        "static": str(jax.tree.structure(mix)),
        "returned": numbers((batch, mix)),
        "follows": numbers(follows),
        "hidden": numbers(hidden),
    }


@jax.jit
def _afterwards(mix: mx.Mix, inputs: Any, targets: Any) -> tuple[Any, Any]:
    return (mix.inputs(inputs), mix.targets(targets)), mix.at(1).inputs(inputs)


def numbers(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def main(folder: Path) -> None:
    blobs = {path.stem: bytearray(path.read_bytes()) for path in folder.glob("*.blob")}
    found = {}
    try:
        jax.export.deserialize(blobs.pop("of_a_user"))
    except ValueError as error:
        found["missed"] = str(error)
    importlib.import_module("tests.exported_parts")
    again = {name: jax.export.deserialize(blob) for name, blob in blobs.items()}
    takes = again.pop("takes")
    found |= {name: made_by(each.call, name) for name, each in again.items()}
    _, mix = again["choose"].call(jax.random.key(7), batch_for("choose"))
    found["takes"] = numbers(takes.call(mix, IMAGES))
    (folder / "found").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
