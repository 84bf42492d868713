"""Values read off what was made: a picture's own time, when pictures are shown, a tone's frequency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence


def opened(path: Path) -> Image.Image:
    """A picture, its file closed again."""
    with Image.open(path) as image:
        return image.copy()


def animated(path: Path) -> list[Image.Image]:
    """The pictures of an animation."""
    with Image.open(path) as image:
        return [frame.copy() for frame in ImageSequence.Iterator(image)]


def own_time_s(picture: Image.Image) -> float:
    """What time a picture of `clips.brightening` says it is, read in its middle: exact to about 0.05 s."""
    width, height = picture.size
    middle = picture.convert("L").crop((width * 3 // 8, height * 3 // 8, width * 5 // 8, height * 5 // 8))
    return float((np.asarray(middle, float).mean() * 219 / 255 + 16 - 20) / 20)


def pictures(path: Path) -> Iterator[tuple[float, Image.Image]]:
    """Each decoded picture with the second at which a player shows it."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            yield frame.time - (container.start_time or 0) / av.time_base, frame.to_image()


def shown_s(path: Path) -> list[float]:
    """When the pictures are shown."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        return sorted(float(p.pts * p.time_base) - start for p in container.demux(video=0) if p.pts is not None)


def sound(path: Path, *, track: int = 0, rate: int = 16_000) -> np.ndarray:
    """The samples of a sound track as one player would give them, silence where there are none; from second 0."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / av.time_base
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        samples, end = np.zeros(0), 0
        for frame in container.decode(audio=track):
            assert frame.time is not None
            at = round((frame.time - start) * rate)
            # Matroska rounds times to 1 ms, which are no gaps.
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


def heard_s(samples: np.ndarray, rate: int = 16_000) -> float:
    """When the first sound is heard."""
    return float(np.argmax(np.abs(samples) > 0.02)) / rate
