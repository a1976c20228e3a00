"""Interleaved timing, shared by all benchmarks, with confidence intervals.

Contenders take turns within a round (A B A B ...), so that other load on the machine
affects all of them. A comparison is the median over rounds of the ratio within each
round, with a rank-based 95% interval that assumes nothing about the noise.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Leave room for PyTorch on the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

FEWEST_ROUNDS = 6  # with fewer, no pair of ranks spans 95%
LONG = 0.2  # seconds; calls this long are not affected by threads still spinning

Seconds = NDArray[np.float64]


class Contender(NamedTuple):
    """A function to be timed.

    Attributes:
      run: starts the work once and returns a handle.
      wait: blocks until the work behind a handle is done.
      program: the compiled XLA program, or None.
    """

    run: Callable[[], Any]
    wait: Callable[[Any], Any] = jax.block_until_ready
    program: Any = None


class Ratio(NamedTuple):
    """A median with its 95% interval."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]"


def interleaved(
    contenders: Mapping[str, Contender],
    *,
    rounds: int = 15,
    seconds: float = 30.0,
    sample: float = 0.01,
    on_round: Callable[[], Any] = lambda: None,
) -> dict[str, Seconds]:
    """Return the seconds that a call of each contender takes, one value per round.

    In a round, every contender gets a turn: an untimed call (unless calls are long),
    during which the threads of the previous contender go idle, then calls for about
    ``sample`` seconds, whose median is taken. On an accelerator, calls are queued and
    their mean is taken; otherwise the host would be measured.

    Args:
      contenders: the functions to time, compiled, with their inputs on the device.
      rounds: maximum number of rounds.
      seconds: no round starts after this time, once there are ``FEWEST_ROUNDS``.
      sample: seconds that a turn lasts, at least one call.
      on_round: called after each round, to show progress.
    """
    queued = jax.default_backend() != "cpu"
    once = {}
    for name, contender in contenders.items():
        contender.wait(contender.run())
        once[name] = max(_timed(contender, 1), 1e-9)
    names, times = list(contenders), {name: [] for name in contenders}
    start = time.perf_counter()
    for turn in range(max(rounds, FEWEST_ROUNDS)):
        if turn >= FEWEST_ROUNDS and time.perf_counter() - start > seconds:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            contender = contenders[name]
            repeats = int(np.clip(sample / once[name], 1, 100))
            if once[name] < LONG:
                contender.wait(contender.run())
            if queued:
                times[name].append(_timed(contender, repeats) / repeats)
            else:
                alone = [_timed(contender, 1) for _ in range(repeats)]
                times[name].append(float(np.median(alone)))
        on_round()
    return {name: np.asarray(found) for name, found in times.items()}


def _timed(contender: Contender, calls: int) -> float:
    start = time.perf_counter()
    handle = None
    for _ in range(calls):
        handle = contender.run()
    contender.wait(handle)
    return time.perf_counter() - start


def median(values: Seconds) -> Ratio:
    """Return the median of ``values`` with its rank-based 95% interval."""
    ordered = np.sort(values)
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    if rank < 1:
        raise ValueError(
            f"expected at least {FEWEST_ROUNDS} rounds; got {len(ordered)}. "
            "No interval of fewer covers 95%."
        )
    return Ratio(
        float(np.median(ordered)), float(ordered[rank - 1]), float(ordered[-rank])
    )


def ratio(times: Seconds, reference: Seconds) -> Ratio:
    """Return the ratio of ``times`` to ``reference``, taken round by round."""
    return median(times / reference)


def compiled(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Compile ``function`` ahead of time for ``args``; ``options`` are those of jit."""
    return jax.jit(function, **options).lower(*args).compile()


def compile_seconds(
    programs: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 8,
    seconds: float = 120.0,
    on_round: Callable[[], Any] = lambda: None,
) -> dict[str, Seconds]:
    """Return the seconds that each of ``programs`` takes, one value per round.

    ``programs`` are functions that trace and compile. They take turns, each from
    scratch: JAX's caches are cleared before, and its persistent cache is off.
    """
    kept = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    names, times = list(programs), {name: [] for name in programs}
    start = time.perf_counter()
    try:
        for turn in range(max(rounds, FEWEST_ROUNDS)):
            if turn >= FEWEST_ROUNDS and time.perf_counter() - start > seconds:
                break
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                jax.clear_caches()
                before = time.perf_counter()
                programs[name]()
                times[name].append(time.perf_counter() - before)
            on_round()
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
    return {name: np.asarray(found) for name, found in times.items()}
