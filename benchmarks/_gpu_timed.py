"""Times on a GPU, compared with a copy on the device and PyTorch libraries."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import _cases, _gpu, _measure, peers
from benchmarks._cases import Case, NotMeasured
from benchmarks._measure import Contender

NO_GPU = (
    "--run: no CUDA device found. On a machine with one: pip install "
    "'.[gpu,benchmarks]', then python -m benchmarks.gpu --run. Without --run, "
    "everything is compiled for GPUs that need not be present."
)
PER = {"timm": "example", "torchvision": "batch", "kornia": "example"}


def gpu_here() -> Any:
    """Return the first CUDA device, or None."""
    try:
        return jax.devices("cuda")[0]
    except RuntimeError:  # JAX knows no such platform
        return None


def timed(
    work: Sequence[_gpu.Alone],
    mixers: Mapping[str, _gpu.Mixing] = _gpu.MIXERS,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the time of each mixer and other library on this machine's first device.

    Each is interleaved with a copy of the same images on the device, and ratios are
    taken within each round. ``options`` are those of ``interleaved``.
    """
    device = jax.devices()[0]
    for one in work:
        contenders = {
            name: functools.partial(_ours, one, mixer, device)
            for name, mixer in mixers.items()
        }
        for method in ("mixup", "cutmix"):
            for peer, per in PER.items():
                dtype = str(jnp.dtype(one.dtype))
                case = Case(method, per, dtype, one.shape, one.classes)
                build = functools.partial(peers.SHIPPED[peer], case)
                contenders[f"{peer}, {method} per {per}"] = build
        copy = _copy(one, device)
        for name, build in contenders.items():
            row: dict[str, Any] = {
                "device": device.device_kind,
                "shape": str(one.shape),
                "dtype": str(jnp.dtype(one.dtype)),
                "who": name,
            }
            try:
                turns = {"copy": copy, name: build()}
            except NotMeasured as error:
                yield row | {"not measured": str(error)}
                continue
            times = _measure.interleaved(turns, **options)
            yield row | {
                "us": _measure.median(times[name] * 1e6),
                "x copy": _measure.ratio(times[name], times["copy"]),
            }


def _copy(work: _gpu.Alone, device: Any) -> Contender:
    """Return a copy of the images on the device, as a contender."""
    x = jax.device_put(_batch(work)[1], device)
    program = jax.jit(jnp.copy).lower(x).compile()
    return Contender(lambda: program(x), program=program)


def _ours(work: _gpu.Alone, mixer: _gpu.Mixing, device: Any) -> Contender:
    """Return a mixer compiled for the device, as a contender."""
    mesh = _gpu.mesh_of(device)
    program = _gpu.compiled(work, mixer, mesh)
    key, x, y, saliency = jax.device_put(_batch(work), jax.NamedSharding(mesh, jax.P()))
    keys = jax.device_put(list(jax.random.split(key, _cases.KEYS)), x.sharding)
    turns = itertools.cycle(keys)
    return Contender(lambda: program(next(turns), x, y, saliency), program=program)


def _batch(work: _gpu.Alone) -> tuple[jax.Array, ...]:
    key = jax.random.key(0)
    x = jax.random.uniform(key, work.shape).astype(work.dtype)
    y = jax.nn.one_hot(jnp.arange(work.shape[0]) % work.classes, work.classes)
    return key, x, y, jax.random.uniform(key, work.shape[:-1])
