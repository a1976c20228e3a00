"""One try: the law holds, or the library refuses with one of its own errors."""

import dataclasses
import re
import traceback
from pathlib import Path
from typing import Any

import jax

import mixup_jax as mx
from tests import oracle
from tests.fuzz.cases import Case, Record
from tests.fuzz.drivers import DRIVERS
from tests.fuzz.law import assert_law, assert_traced

PACKAGE = str(Path(mx.__file__).parent)
STOP = 5  # the step at which ``until`` stops


@dataclasses.dataclass(frozen=True)
class Around:
    """A wrapped mixer, its batch, and a function that extracts inputs and targets."""

    mixer: Any
    batch: Any
    pair: Any


def around(case: Case) -> Around:
    mixer = case.method.method.mixer
    named = mx.on_keys(mixer, inputs="x", targets="y")

    def record(number: int = 0) -> Record:
        return Record(*case.batch(number), None)

    def entries(number: int = 0) -> dict[str, Any]:
        inputs, targets = case.batch(number)
        return {"y": targets, "x": inputs}

    if case.around == "on_keys":
        return Around(named, entries, lambda batch: (batch["x"], batch["y"]))
    if case.around == "on_keys of a dataclass":
        return Around(named, record, lambda batch: (batch.x, batch.y))
    if case.around.startswith("until"):
        step = STOP if case.around == "until, after" else STOP - 1
        mixer = mx.until(STOP, mixer)(step)
    return Around(mixer, case.batch, lambda batch: batch)


def tried(case: Case) -> str | None:
    """Return the reason of a refusal, or None if the law holds.

    Any other exception propagates: a failed assertion, or an error that is not in the
    library's own format.
    """
    inside = around(case)
    key = jax.random.key(case.seed)
    try:
        runs = DRIVERS[case.driver](inside.mixer, key, inside.batch, inside.pair)
    except (TypeError, ValueError) as error:
        if not is_ours(error):
            raise
        return reason(error)
    for run in runs:
        if case.driver == "traced":
            assert_traced(run)
        else:
            assert_law(run, expected(case, run))
    return None


def expected(case: Case, run: Any) -> oracle.Expected:
    if case.around == "until, after":
        return oracle.untouched()
    found = case.method.method.expected(run.mix, run.key, run.batch)
    # Each program rounds the weights that it computes in its own way.
    return dataclasses.replace(found, slack=found.slack + 4 * oracle.EPS)


def is_ours(error: Exception) -> bool:
    """Return whether the library raised it, as an "expected ...; got ..." message."""
    *_, last = traceback.extract_tb(error.__traceback__)
    worded = re.search(r"expected .+; got ", str(error), re.DOTALL)
    return last.filename.startswith(PACKAGE) and worded is not None


def reason(error: Exception) -> str:
    """Return the expectation of a message, without paths and numbers."""
    wanted = str(error).split("; got ")[0]
    where, _, what = wanted.partition("expected ")
    where = re.split(r"[\[.:]", where)[0].strip()
    what = re.sub(r"\(?\d[\d, ]*\)?", "N", re.sub(r"\(\(?\d.*", "...", what))
    return f"{type(error).__name__}: {where}: expected {what}"
