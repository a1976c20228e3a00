"""Spoken digits, read from the original zip file."""

import io
import os
import re
import wave
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_RECORDING = re.compile(
    r"(?:^|/)(?P<digit>[0-9])_(?P<speaker>[^_/]+)_(?P<take>[0-9]+)\.wav$"
)
_RATE = 8000


class Recordings(NamedTuple):
    """Spoken digits, one recording per row, ordered by digit, speaker and take.

    Waveforms are float32 ``[N, T]`` in [-1, 1), zero from ``lengths[i]`` on. The other
    arrays are int32 ``[N]``; ``speaker_ids`` are indices into ``speakers``.
    """

    waveforms: NDArray[np.float32]
    lengths: NDArray[np.int32]
    digits: NDArray[np.int32]
    speaker_ids: NDArray[np.int32]
    takes: NDArray[np.int32]
    speakers: tuple[str, ...]
    rate: int


def spoken_digits(data_dir: str | os.PathLike[str]) -> Recordings:
    """Return the Free Spoken Digit Dataset, read from the zip file in ``data_dir``.

    The authors test on takes 0 to 4 and train on the others.

    Raises:
      FileNotFoundError: If ``data_dir`` does not contain exactly one zip file.
      ValueError: If the zip file or a recording in it is damaged, or a recording is not
        16-bit mono at 8 kHz.
    """
    archive = _only_zip(Path(data_dir))
    try:
        with zipfile.ZipFile(archive) as zipped:
            found = sorted(_recordings(archive, zipped))
    # RuntimeError: encrypted, or an unsupported compression method.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{archive}: expected a whole zip file, got a broken one ({error}). "
            "Replace it with the original."
        ) from error
    if not found:
        raise ValueError(
            f"{archive}: expected recordings named DIGIT_SPEAKER_TAKE.wav, got none. "
            "Replace it with the original."
        )
    digits, names, takes, sounds = zip(*found, strict=True)
    speakers = tuple(sorted(set(names)))
    return Recordings(
        *_padded(sounds),
        np.array(digits, np.int32),
        np.array([speakers.index(name) for name in names], np.int32),
        np.array(takes, np.int32),
        speakers,
        _RATE,
    )


def _only_zip(folder: Path) -> Path:
    archives = sorted(folder.glob("*.zip"))
    if len(archives) != 1:
        names = ", ".join(file.name for file in archives) or "none"
        raise FileNotFoundError(
            f"{folder}: expected a folder with one zip file of recordings, got {names}."
        )
    return archives[0]


def _recordings(
    archive: Path, zipped: zipfile.ZipFile
) -> Iterator[tuple[int, str, int, bytes]]:
    for name in zipped.namelist():
        match = _RECORDING.search(name)
        if match:
            sound = _sound(f"{archive}:{name}", zipped.read(name))
            yield int(match["digit"]), match["speaker"], int(match["take"]), sound


def _sound(where: str, content: bytes) -> bytes:
    try:
        with wave.open(io.BytesIO(content)) as file:
            got = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            count, sound = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f"{where}: expected a wav file, got a broken one ({error})."
        ) from error
    if got != (1, 16, _RATE):
        raise ValueError(
            f"{where}: expected (channels, bits, rate) to be {(1, 16, _RATE)}, got "
            f"{got}. Replace the recording with the original."
        )
    if not count or len(sound) != 2 * count:
        raise ValueError(
            f"{where}: expected {count} samples (at least 1), got {len(sound) // 2}. "
            "Replace the recording with the original."
        )
    return sound


def _padded(sounds: Sequence[bytes]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    lengths = np.array([len(sound) // 2 for sound in sounds], np.int32)
    waveforms = np.zeros((len(sounds), lengths.max()), np.float32)
    for row, sound, length in zip(waveforms, sounds, lengths, strict=True):
        row[:length] = np.frombuffer(sound, "<i2") / np.float32(1 << 15)
    return waveforms, lengths
