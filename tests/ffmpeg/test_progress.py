"""ffmpeg's progress lines."""

from __future__ import annotations

from mps_dagster.ffmpeg.progress import Progress

BLOCK = """frame=75
fps=0.00
bitrate=N/A
out_time_us=2960000
out_time=00:00:02.960000
speed=5.91x
progress=continue"""


def test_a_block_has_time_frames_and_speed():
    """Other keys are ignored; times are in microseconds."""
    progress = Progress()
    for line in BLOCK.splitlines():
        progress = progress.advance(line)
    assert progress == Progress(out_time_s=2.96, frame=75, speed=5.91)


def test_unknown_values_change_nothing():
    """ffmpeg writes N/A until the first frame is out, and negative times before the first key frame."""
    before = Progress(out_time_s=1.0, frame=3, speed=2.0)
    for line in ("out_time_us=N/A", "speed=N/A", "", "frame", "nonsense=1"):
        assert before.advance(line) == before
    assert Progress().advance("out_time_us=-80000").out_time_s == 0


def test_progress_never_goes_back():
    """Of several outputs, ffmpeg tells now one's time, now another's."""
    before = Progress(out_time_s=9.6, frame=207)
    for line in ("out_time_us=8680000", "frame=206"):
        assert before.advance(line) == before


def test_the_last_block_marks_the_end():
    assert Progress().advance("progress=end").ended
