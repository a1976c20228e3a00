"""What does mixing add as devices are added, with a fixed batch size per device?

    python -m benchmarks.weak_scaling [--quick] [--out DIR]

The train step of the CNN, 16 images of 32x32 per device, on 1, 2, 4 and 8 devices, with
`pmap` and with jit on a mesh. Collectives and the bytes that they carry are read from
the compiled program; mixing should add none. Efficiency is the time of a step on one
device divided by its time on many. Devices of a CPU share its cores, so only the ratio
to the efficiency without mixing is meaningful; ideally, it is 1.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import command_line
import mixup_jax as mx
from benchmarks import _measure, _scripts
from benchmarks._programs import COLLECTIVES, facts, sent
from benchmarks.models import MODELS, dense, initial_state, loss_of

DRIVERS = ("pmap", "jit + mesh")
AXIS = "data"
COUNTS = (1, 2, 4, 8)
MIXERS: dict[str, mx.Mixer] = {
    "none": mx.erm,
    "mixup": functools.partial(mx.mixup, alpha=0.2),
    "cutmix": mx.cutmix,
}


def contender(
    driver: str, mixer: mx.Mixer, count: int, share: int
) -> _measure.Contender:
    """Return a compiled train step on ``count`` devices, with its own state."""
    model, key = MODELS["cnn"], jax.random.key(0)
    step = mx.training.train_step(
        loss_of(model, jnp.float32, dense),
        mx.on_keys(mixer, inputs="image", targets="label"),
    )
    devices = jax.devices()[:count]
    mesh = jax.sharding.Mesh(
        np.array(devices), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
    )
    whole, shared = (jax.NamedSharding(mesh, spec) for spec in (jax.P(), jax.P(AXIS)))
    state, key = jax.device_put((initial_state(model, jnp.float32, key), key), whole)
    batch = {
        "image": jax.random.normal(jax.random.key(1), (count * share, *model.image)),
        "label": jax.nn.one_hot(
            jnp.arange(count * share) % model.classes, model.classes
        ),
    }
    batch = jax.device_put(batch, shared)
    if driver == "pmap":
        step_on = mx.training.pmapped(step, axis_name=AXIS, devices=devices)
    else:
        step_on = mx.training.sharded(step, mesh, axis_name=AXIS)
    program = step_on.lower(state, key, batch).compile()
    held = [state]

    def run():
        held[0], metrics = program(held[0], key, batch)
        return metrics

    return _measure.Contender(run, program=program)


def communicated(program: Any) -> int:
    """Return the bytes that a program's collectives leave on one device."""
    return sum(each.nbytes for each in sent(program))


def scaled(driver: str, counts: tuple[int, ...], share: int, **options: Any) -> Any:
    """Return a row per number of devices and mixer, with ``driver``."""
    who = {
        (count, name): contender(driver, mixer, count, share)
        for count in counts
        for name, mixer in MIXERS.items()
    }
    labels = {f"{count} {name}": who[count, name] for count, name in who}
    times = _measure.interleaved(labels, **options)
    rows = []
    for count, name in who:
        program, base = who[count, name].program, who[count, "none"].program
        taken = {n: times[f"{n} {name}"] for n in counts}
        plain = {n: times[f"{n} none"] for n in counts}
        more = {
            kind: facts(program).collectives.get(kind, 0)
            - facts(base).collectives.get(kind, 0)
            for kind in COLLECTIVES
        }
        rows.append(
            {
                "driver": driver,
                "devices": count,
                "mixing": name,
                "ms": _measure.median(taken[count] * 1e3),
                "collectives": sum(facts(program).collectives.values()),
                "more collectives": sum(map(abs, more.values())),
                "more bytes communicated": communicated(program) - communicated(base),
                "efficiency / without": _measure.median(
                    (taken[counts[0]] / taken[count])
                    / (plain[counts[0]] / plain[count])
                ),
            }
        )
    return rows


def picture(rows: list[dict[str, Any]]) -> Any:
    """Plot the efficiency with mixing relative to that without."""
    drivers = list(dict.fromkeys(row["driver"] for row in rows))
    figure, (axes,) = plt.subplots(
        1, len(drivers), figsize=(5 * len(drivers), 3.6), sharey=True, squeeze=False
    )
    for axis, driver in zip(axes, drivers):
        for k, name in enumerate(list(MIXERS)[1:]):
            shown = [r for r in rows if (r["driver"], r["mixing"]) == (driver, name)]
            counts = np.array([row["devices"] for row in shown]) * (1 + 0.04 * k)
            found = [row["efficiency / without"] for row in shown]
            middle = np.array([ratio.median for ratio in found])
            spread = [
                middle - [ratio.low for ratio in found],
                np.array([ratio.high for ratio in found]) - middle,
            ]
            axis.errorbar(counts, middle, spread, fmt="o-", label=name, capsize=3)
        axis.axhline(1, color="gray", lw=1)
        axis.set(xscale="log", xlabel="devices", title=driver)
        axis.set_xticks(COUNTS, [str(count) for count in COUNTS], minor=False)
        axis.legend()
    axes[0].set_ylabel("efficiency / that without mixing")
    figure.tight_layout()
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = _scripts.arguments("weak_scaling", __doc__)
    args = parser.parse_args(argv)
    jax.config.update(
        "jax_num_cpu_devices", COUNTS[-1]
    )  # before the backend is initialized
    available = len(jax.devices())
    counts = tuple(n for n in ((1, 2) if args.quick else COUNTS) if n <= available)
    if len(counts) < 2:
        parser.error(
            f"expected two devices or more; got {available}. Run it on the CPU: "
            "JAX_PLATFORMS=cpu."
        )
    _scripts.check_out(parser, "weak_scaling", args)
    options: dict[str, Any] = {"rounds": 25, "seconds": 45.0}
    if args.quick:
        options = {"rounds": 6, "seconds": 2.0}
    with command_line.Interruption() as interruption:
        found = _scripts.measured(
            interruption,
            "weak scaling",
            {driver: driver for driver in DRIVERS},
            lambda driver: scaled(driver, counts, 2 if args.quick else 16, **options),
        )
        rows = [row for each in found.values() for row in each]
        if rows:
            _scripts.show("Weak scaling", rows)
            missing = [driver for driver in DRIVERS if driver not in found]
            record = {"rows": rows}
            _scripts.write(
                "weak_scaling", __doc__, args, record, picture(rows), missing
            )


if __name__ == "__main__":
    command_line.start(main)
