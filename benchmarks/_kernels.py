"""The kernels that a GPU launches for a compiled program, read from its HLO."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks._programs import Buffer, buffers

# Instructions that name a value or a part of one, and launch nothing.
_NAMES = {
    "add-dependency",
    "after-all",
    "bitcast",
    "constant",
    "domain",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
}
# Instructions that run other computations, which are counted there.
_RUNS = {"call", "conditional", "while", "async-start"}


class Kernel(NamedTuple):
    """An instruction that launches something.

    Attributes:
      kind: the HLO opcode: ``"fusion"``, ``"copy"``, ``"custom-call"``, ...
      reads: its operands, each once.
      writes: its results.
    """

    kind: str
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of all operands and results."""
        return sum(buffer.nbytes for buffer in (*self.reads, *self.writes))


class Launched(NamedTuple):
    """The kernels of a program, and the memory that they access.

    Attributes:
      kernels: number of kernels; those in the body of a loop count once.
      touching: number of kernels that read or write an array of the batch's size.
      writing: number of kernels that write one.
      loops: number of while loops.
      nbytes: bytes of the operands and results of all kernels. This is the least that
        is moved if each kernel reads its operands in full and the cache keeps nothing
        between kernels: a gather of a few rows counts as all rows, a value that a
        kernel reads twice counts once, and a loop counts as one iteration.
      temporary: bytes of temporary memory.
    """

    kernels: int
    touching: int
    writing: int
    loops: int
    nbytes: int
    temporary: int


def launched(program: Any, batch: int) -> Launched:
    """Return the kernels of a compiled program; ``batch`` is the batch's size."""
    text = program.as_text()
    found = kernels(text)
    writing = [any(_is_batch(b, batch) for b in kernel.writes) for kernel in found]
    reading = [any(_is_batch(b, batch) for b in kernel.reads) for kernel in found]
    return Launched(
        len(found),
        sum(map(max, writing, reading)),
        sum(writing),
        len(re.findall(r" while\(", text)),
        sum(kernel.nbytes for kernel in found),
        int(program.memory_analysis().temp_size_in_bytes),
    )


def _is_batch(buffer: Buffer, size: int) -> bool:
    numbers = 1
    for length in buffer.shape:
        numbers *= length
    return numbers == size


def kernels(text: str) -> list[Kernel]:
    """Return the kernels of optimized HLO: of its entry, and of what that calls."""
    computations, entry = _computations(text)
    return list(_launched_by(entry, computations))


class _Instruction(NamedTuple):
    name: str
    results: tuple[Buffer, ...]
    kind: str
    operands: tuple[str, ...]
    attributes: str


def _launched_by(
    name: str, computations: dict[str, list[_Instruction]]
) -> Iterator[Kernel]:
    results = {each.name: each.results for each in computations[name]}
    for each in computations[name]:
        if each.kind in _RUNS:
            for called in re.findall(r"%([\w.\-]+)", each.attributes):
                if called in computations:
                    yield from _launched_by(called, computations)
        elif each.kind not in _NAMES and not each.kind.endswith(("-done", "-update")):
            reads = [b for of in dict.fromkeys(each.operands) for b in results[of]]
            yield Kernel(each.kind, tuple(reads), each.results)


def _computations(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """Return the instructions of each computation, and the name of the entry."""
    found: dict[str, list[_Instruction]] = {}
    entry, name = "", ""
    for line in text.splitlines():
        if begins := re.match(r"(ENTRY )?%([\w.\-]+) \(.*\{$", line):
            name = begins[2]
            found[name] = []
            entry = name if begins[1] else entry
        elif name and (is_one := re.match(r"\s+(?:ROOT )?%([\w.\-]+) = (.*)", line)):
            found[name].append(_instruction(is_one[1], is_one[2]))
    if not entry:
        raise ValueError(
            "expected the text of an optimized HLO module, which has an ENTRY; got "
            f"{text[:60]!r}. Pass compiled.as_text()."
        )
    return found, entry


def _instruction(name: str, rest: str) -> _Instruction:
    kind_at = _end(rest) if rest.startswith("(") else rest.index(" ")
    kind, rest_of_it = rest[kind_at:].strip().split("(", 1)
    end = _end("(" + rest_of_it) - 2
    operands = re.findall(r"%([\w.\-]+)", rest_of_it[:end])
    attributes = re.sub(r"metadata=\{.*", "", rest_of_it[end:])
    results = tuple(buffers(rest[:kind_at]))
    return _Instruction(name, results, kind, tuple(operands), attributes)


def _end(text: str) -> int:
    """Return the end of the parenthesis that ``text`` begins with."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return at + 1
    return len(text)
