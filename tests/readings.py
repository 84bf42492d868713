"""Measures outputs: the time encoded in a picture, presentation times, the frequency of a tone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence


def read_image(path: Path) -> Image.Image:
    """A picture, with its file closed."""
    with Image.open(path) as image:
        return image.copy()


def read_frames(path: Path) -> list[Image.Image]:
    """The pictures of an animation."""
    with Image.open(path) as image:
        return [frame.copy() for frame in ImageSequence.Iterator(image)]


def encoded_time_s(picture: Image.Image) -> float:
    """The time that `clips.brightening` encoded in a picture, read in its middle: exact to about 0.05 s."""
    width, height = picture.size
    middle = picture.convert("L").crop((width * 3 // 8, height * 3 // 8, width * 5 // 8, height * 5 // 8))
    return float((np.asarray(middle, float).mean() * 219 / 255 + 16 - 20) / 20)


def pictures(path: Path) -> Iterator[tuple[float, Image.Image]]:
    """Each decoded picture, with the second at which a player shows it."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            yield frame.time - (container.start_time or 0) / av.time_base, frame.to_image()


def presentation_times_s(path: Path) -> list[float]:
    """When a player shows the pictures."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        return sorted(float(p.pts * p.time_base) - start for p in container.demux(video=0) if p.pts is not None)


def sound(path: Path, *, track: int = 0, rate: int = 16_000) -> np.ndarray:
    """The samples of an audio track as a player plays them from second 0, with silence in gaps."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        samples, end = np.zeros(0), 0
        for frame in container.decode(audio=track):
            assert frame.time is not None
            at = round((frame.time - start) * rate)
            # Matroska rounds times to 1 ms; that is not a gap.
            at = end if abs(at - end) < 0.005 * rate else at
            for piece in resampler.resample(frame):
                values = piece.to_ndarray().ravel()
                samples = np.concatenate([samples, np.zeros(max(0, at + len(values) - len(samples)))])
                samples[max(0, at) : at + len(values)] = values[max(0, -at) :]
                at += len(values)
            end = at
    return samples


def hertz(samples: np.ndarray, rate: int = 16_000) -> int:
    """The strongest frequency, to the nearest 10."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return round(float(np.argmax(spectrum)) * rate / len(samples), -1)


def first_sound_s(samples: np.ndarray, rate: int = 16_000) -> float:
    """The time of the first audible sample."""
    return float(np.argmax(np.abs(samples) > 0.02)) / rate
