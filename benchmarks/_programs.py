"""Facts about a program, read from its jaxpr and from the compiled HLO."""

import collections
import math
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax

COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)


class Buffer(NamedTuple):
    """An array of a compiled program."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        bits = re.search(r"\d+", self.dtype)
        return (int(bits[0]) // 8 if bits else 1) * math.prod(self.shape)


def buffers(text: str) -> list[Buffer]:
    """Return the arrays of an HLO type, which may be a tuple."""
    return [
        Buffer(dtype, tuple(int(n) for n in sizes.split(",") if n))
        for dtype, sizes in re.findall(r"\b([a-z]\w*)\[([\d,]*)\]", text)
    ]


class Sent(NamedTuple):
    """An array that a collective of a compiled program leaves on a device."""

    kind: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return Buffer(self.dtype, self.shape).nbytes


def sent(program: Any) -> list[Sent]:
    """Return the arrays that a program's collectives leave on one device."""
    found, kinds = [], "|".join(COLLECTIVES)
    # An asynchronous collective is two instructions; the second has the result.
    for results, kind in re.findall(
        rf"= (.+?) ({kinds})(?:-done)?\(", program.as_text()
    ):
        found += [Sent(kind, *buffer) for buffer in buffers(results)]
    return found


class Facts(NamedTuple):
    """What XLA reports about a compiled program, for one device.

    Attributes:
      bytes_accessed: bytes read and written, according to the cost model.
      temporary: bytes of temporary memory.
      collectives: number of collectives of each kind.
      loops: number of while loops.
      conditionals: number of branches at run time.
    """

    bytes_accessed: float
    temporary: int
    collectives: dict[str, int]
    loops: int
    conditionals: int


def facts(program: Any) -> Facts:
    """Return the facts about a compiled program."""
    text = program.as_text()
    # An asynchronous collective is two instructions; only its start is counted.
    found = {
        kind: len(re.findall(rf" {kind}(?:-start)?\(", text)) for kind in COLLECTIVES
    }
    cost = program.cost_analysis()
    return Facts(
        float(cost["bytes accessed"]),
        int(program.memory_analysis().temp_size_in_bytes),
        {kind: count for kind, count in found.items() if count},
        len(re.findall(r" while\(", text)),
        len(re.findall(r" conditional\(", text)),
    )


def more(facts: Facts, base: Facts) -> dict[str, int]:
    """Return the collectives that a program has in excess of another, by kind."""
    extra = collections.Counter(facts.collectives)
    extra.subtract(base.collectives)
    return {kind: count for kind, count in extra.items() if count}


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations of a jaxpr, including those of nested jaxprs."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "cut_into_shares":  # traced when it is lowered
            run = partial(equation.params["run"], equation.params["block"])
            given = (v.aval for v in equation.invars)
            shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in given]
            yield from equations(jax.make_jaxpr(run)(*shapes).jaxpr)
            continue
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def hashes(jaxpr: Any) -> list[Any]:
    """Return the calls of the library's hash, which generates random words."""
    found = [each for each in equations(jaxpr) if each.params.get("name") == "_bits"]
    return [each.params["jaxpr"].jaxpr for each in found]
