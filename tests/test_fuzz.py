"""In every case the law of the method holds, or the library refuses with its own error.

``python -m tests.fuzz`` tries many cases; they are defined in ``tests/fuzz/``.
"""

from typing import Any

import hypothesis
import jax.numpy as jnp
import pytest

from mixup_jax._core import blend, checks
from tests.fuzz import report
from tests.fuzz.cases import GRIDS, IMAGES, Case, Leaf, cases
from tests.fuzz.drivers import DRIVERS, SHARES
from tests.fuzz.outcome import is_ours, reason
from tests.fuzz.report import Tally, page
from tests.fuzz.supported import supported
from tests.methods import KINDS

FLOATS = Leaf("float32", (4, 3, 2))
SOFT = Leaf("float32", (3,))


def assert_holds(case: Case) -> None:
    tally = Tally()
    tally.add(case)
    assert not tally.defects, tally.defects


@hypothesis.settings(max_examples=15)
@hypothesis.given(cases(["traced"], KINDS))
def test_traced(case):
    assert_holds(case)


# Two methods and one shape, so that little is compiled.
@hypothesis.settings(max_examples=6)
@hypothesis.given(cases(["eager"], ["mixup", "cutmix"], IMAGES[:1]))
def test_values(case):
    assert_holds(case)


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver(driver):
    @hypothesis.settings(max_examples=30)
    @hypothesis.given(cases([driver], worlds=GRIDS[:2]))
    def holds(case):
        assert_holds(case)

    holds()


# The profile sets the number of cases: ``--hypothesis-profile long`` tries 20,000.
@pytest.mark.slow
@hypothesis.given(cases([*DRIVERS]))
def test_any_case(case):
    assert_holds(case)


def test_every_driver_has_a_share():
    assert SHARES.keys() == DRIVERS.keys()


def test_a_wrong_value_is_seen(monkeypatch):
    case = Case("mixup", "eager", 3, FLOATS, SOFT)
    right = blend.blend
    assert_holds(case)

    def wrong(w: Any, x: Any, y: Any) -> Any:
        return right(w, x, y) * jnp.float32(1 + 1e-4)

    monkeypatch.setattr(blend, "blend", wrong)
    tally = Tally()
    tally.add(case)
    assert [found for found, _ in tally.defects] == [case]


def test_a_refusal_of_what_is_supported_is_seen(monkeypatch):
    case = Case("mixup", "traced", 3, Leaf("uint8", (4, 3, 2)), SOFT)
    assert_holds(case)
    assert not supported(case)
    monkeypatch.setattr(report, "supported", lambda case: True)
    tally = Tally()
    tally.add(case)
    ((found, why),) = tally.defects
    assert found is case
    assert "expected a floating-point or complex dtype" in why


@pytest.mark.parametrize("flaw", ["list", "scalar", "python", "no example", "text"])
def test_flaws_are_refused(flaw):
    case = Case("mixup", "eager", 3, FLOATS, None, flaw=flaw)
    assert not supported(case)
    tally = Tally()
    tally.add(case)
    assert not tally.defects
    assert tally.total.refused == 1
    assert len(tally.reasons) == 1


def test_words_of_others_are_no_refusal():
    with pytest.raises(TypeError, match="dot_general") as raised:
        jnp.dot(jnp.zeros(2), jnp.zeros(3))
    assert not is_ours(raised.value)
    with pytest.raises(ValueError, match="a pair") as raised:
        checks.pair(3)
    assert is_ours(raised.value)
    assert reason(raised.value) == (
        "ValueError: batch: expected a pair (inputs, targets)"
    )


def test_a_case_is_python():
    case = Case("mixup", "eager", 3, (FLOATS, [None]), {"y": SOFT}, seed=2)
    assert eval(repr(case)) == case


def test_the_page_counts():
    tally = Tally()
    tally.add(Case("mixup", "traced", 3, FLOATS, SOFT))
    tally.add(Case("mixup", "traced", 3, Leaf("uint8", (3,)), SOFT))
    text = page(tally, "a command")
    assert "Of 2 cases, 1 satisfied the law" in text
    assert "| mixup | 1 + 1 |" in text
    assert "expected a floating-point or complex dtype" in text
