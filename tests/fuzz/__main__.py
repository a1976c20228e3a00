"""Try many cases, and write the page that reports the outcome."""

import argparse
from pathlib import Path
from typing import Any

import hypothesis
import jax
import rich.console
import rich.progress

import command_line
import tests.conftest  # eight devices, and JAX at its strictest  # noqa: F401
from tests.fuzz.cases import WORLDS, cases
from tests.fuzz.drivers import SHARES
from tests.fuzz.report import Tally, page

PAGE = Path(__file__).parents[2] / "docs" / "fuzzed.md"
LONG = hypothesis.settings.get_profile("long")
WRITTEN = 100  # cases between two writes of the page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--cases", type=command_line.positive_int, default=LONG.max_examples
    )
    parser.add_argument("--seed", type=command_line.seed, default=0)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page")
    args = parser.parse_args()
    command_line.check_writable(parser, args.out)
    command = f"python -m tests.fuzz --cases {args.cases} --seed {args.seed}"
    tally, done = Tally(), 0

    def write() -> None:
        args.out.write_text(page(tally, command))

    with _progress() as bar:
        task = bar.add_task("", total=args.cases)

        def attempt(case: Any) -> None:
            nonlocal done
            tally.add(case)
            done += 1
            bar.update(task, advance=1, description=f"{len(tally.defects)} defects")
            if done % WRITTEN == 0:
                write()

        try:
            for number, world in enumerate(WORLDS):
                upto = args.cases * (number + 1) // len(WORLDS)
                _each(attempt, world, upto - done, f"{args.seed} {number}")
                jax.clear_caches()  # programs of one shape are not reused for another
        finally:
            write()
    print(f"wrote {args.out}")
    if tally.defects:
        raise SystemExit(1)


def _each(attempt: Any, world: Any, count: int, seed: str) -> None:
    """Call ``attempt`` on ``count`` cases of one shape."""
    drivers = [driver for driver, share in SHARES.items() for _ in range(share)]
    if count:
        settings = hypothesis.settings(LONG, max_examples=count)
        given = hypothesis.given(cases(drivers, worlds=[world]))
        hypothesis.seed(seed)(settings(given(lambda case: attempt(case))))()


def _progress() -> rich.progress.Progress:
    return rich.progress.Progress(
        "{task.description}",
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=rich.console.Console(stderr=True),
    )


if __name__ == "__main__":
    command_line.start(main)
