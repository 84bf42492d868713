"""Parser for ffmpeg's `-progress pipe:1`: blocks of key=value lines, each ended by `progress=continue|end`."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one ffmpeg process, which never goes back: of several outputs, ffmpeg tells now one's, now another's."""

    out_time_s: float = 0.0
    frame: int = 0
    speed: float = 0.0
    """Media seconds per wall-clock second."""
    ended: bool = False

    def advance(self, line: str) -> Progress:
        """The progress after one more line; unknown keys and `N/A` change nothing."""
        key, _, value = line.strip().partition("=")
        try:
            match key:
                case "out_time_us":
                    return replace(self, out_time_s=max(self.out_time_s, int(value) / 1e6))
                case "frame":
                    return replace(self, frame=max(self.frame, int(value)))
                case "speed":
                    return replace(self, speed=float(value.strip().rstrip("x")))
                case "progress":
                    return replace(self, ended=value == "end")
        except ValueError:
            return self
        return self
