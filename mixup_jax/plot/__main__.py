"""Plot your own images or arrays before and after mixing, and save the figure.

python -m mixup_jax.plot cutmix cat.png dog.png
python -m mixup_jax.plot mixup waveforms.npy --alpha 0.4
"""

import argparse
import contextlib
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

import mixup_jax as mx
from mixup_jax.plot._files import Examples, read
from mixup_jax.plot._kinds import Show, curves, show_for, spectrogram

_MOST = 20  # examples in one figure
_SUFFIXES = ".png", ".pdf", ".svg", ".jpg"


def main(argv: Sequence[str] | None = None) -> None:
    """Read the files, mix them, save the figure and print its path."""
    mixers = _mixers()
    parser = _parser(mixers)
    args = parser.parse_args(argv)
    mixer, out = mixers[args.mixer], args.out or Path(f"{args.mixer}.png")
    takes = inspect.signature(mixer).parameters
    if args.alpha is not None and "alpha" not in takes:
        parser.error(
            f"--alpha: expected a mixer that takes it; got {args.mixer}. Leave it out."
        )
    if out.suffix.lower() not in _SUFFIXES:
        parser.error(
            f"--out: expected a file that ends in one of {', '.join(_SUFFIXES)}; got "
            f"{out}."
        )
    if out.is_dir():
        parser.error(f"--out: expected a file; got a folder, {out}.")
    if not out.parent.is_dir():
        parser.error(f"--out: expected a folder that exists; got {out.parent}.")
    try:
        found = read(args.files)
        show = _show(found.inputs.shape, args.spectrogram)
        options = {
            "alpha": args.alpha,
            "pairing": mx.pairings.neighbour,
            "spatial": (1,) if show is curves else (1, 2),
        }
        given = {k: v for k, v in options.items() if k in takes and v is not None}
        mixer = functools.partial(mixer, **given)
        _save(_draw(mixer, found, show, args), out)
    except ModuleNotFoundError:
        parser.error("needs Matplotlib and Pillow: pip install 'mixup-jax[plot]'")
    except (OSError, TypeError, ValueError) as error:
        parser.error(str(error))
    if found.note:
        print(found.note)
    print(out)


def _draw(
    mixer: Callable[..., Any], found: Examples, show: Show, args: argparse.Namespace
) -> Any:
    key = jax.random.key(args.seed)
    floats = found.inputs.astype(np.float32)  # accepted by every mixer
    mix = mx.draw_of(mixer)(key, (floats, None))
    ids = None if found.names is None else np.arange(len(floats), dtype=np.int32)
    return mx.plot(
        (found.inputs, ids),
        mix,
        examples=args.examples,
        classes=found.names,
        show=show,
    )


def _save(figure: Any, out: Path) -> None:
    try:
        figure.savefig(out, dpi=150)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(
            f"--out: could not write {out} ({reason}). Choose a location that can be "
            "written."
        ) from error


def _show(shape: tuple[int, ...], are_spectrograms: bool) -> Show:
    if are_spectrograms:
        if len(shape) == 3 or shape[3:] == (1,):
            return spectrogram
        expected = "with --spectrogram examples [F, T] or [F, T, 1]"
    else:
        with contextlib.suppress(ValueError):
            return show_for(shape)
        expected = "examples [T] or [T, C], [H, W] or [H, W, C] with 1, 3 or 4 channels"
    raise ValueError(
        f"expected {expected}; got {list(shape[1:])}. Move the axes with "
        "numpy.transpose, and save the array again."
    )


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage before them."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def _parser(mixers: Iterable[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m mixup_jax.plot", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("mixer", choices=list(mixers), metavar="MIXER", help=", ".join(mixers))
    about = "images, or .npy files: one with a batch, or several with one example each"
    add("files", nargs="+", type=_file, metavar="FILE", help=about)
    add("--alpha", type=_alpha, help="concentration of Beta(alpha, alpha)")
    add("--examples", type=_whole(1, _MOST), default=4, help="number to show")
    add("--seed", type=_whole(0, 2**32 - 1), default=0)
    add("--spectrogram", action="store_true", help="examples are [F, T]")
    add("--out", type=Path, help="path of the figure; MIXER.png by default")
    return parser


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        found = "a folder" if path.exists() else "a path that does not exist"
        raise argparse.ArgumentTypeError(f"{path}: expected a file; got {found}")
    return path


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if text.isdecimal() and len(text) <= 10 else low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"expected a whole number, from {low} to {high}; got {text[:40]}"
            )
        return number

    return parse


def _alpha(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= float(np.finfo(np.float32).max):
        raise argparse.ArgumentTypeError(
            f"expected a finite number, 0 or more; got {text[:40]}"
        )
    return number


def _mixers() -> dict[str, Callable[..., Any]]:
    """Return the public mixers that have a draw and no required options."""
    return {
        name: value
        for name, value in sorted(vars(mx).items())
        if getattr(value, "__module__", "").startswith("mixup_jax._mixers.")
        and all(
            option.default is not option.empty
            for option in [*inspect.signature(value).parameters.values()][2:]
        )
        and _has_draw(value)
    }


def _has_draw(mixer: Callable[..., Any]) -> bool:
    """Return whether a mixer has a draw, whose ``Mix`` describes all that it does."""
    try:
        mx.draw_of(mixer)
    except TypeError:
        return False
    return True


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
