"""What a GPU would launch to run a compiled program, read off the program itself."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks._programs import Buffer, buffers

# What names a value or a part of one, and runs nothing.
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
# What runs the instructions of other computations, which are counted there.
_RUNS = {"call", "conditional", "while", "async-start"}


class Kernel(NamedTuple):
    """An instruction that launches something.

    Attributes:
      kind: what it is called in HLO: ``"fusion"``, ``"copy"``, ``"custom-call"``, ...
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
    """What a program launches, and the memory that it goes through.

    Attributes:
      kernels: how many there are, those of a loop's body once.
      touching: how many read or write an array of the size of the batch.
      writing: how many write one.
      loops: while loops.
      nbytes: of operands and results of all kernels together. It is the least that a
        kernel moves if it takes all of its operands and the cache holds nothing from
        one kernel to the next: a gather of a few rows counts as all rows, a kernel that
        reads a value again as one that reads it once, a loop as if it turned once.
      temporary: bytes of temporary memory.
    """

    kernels: int
    touching: int
    writing: int
    loops: int
    nbytes: int
    temporary: int


def launched(program: Any, batch: int) -> Launched:
    """Return what a compiled program launches on a batch of so many numbers."""
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
    """Return what optimised HLO launches: in its entry, and in what that runs."""
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
            "expected the text of an optimised HLO module, which has an ENTRY; got "
            f"{text[:60]!r}. Give compiled.as_text()."
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
    """Return where the bracket that ``text`` begins with has been closed."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return at + 1
    return len(text)
