"""What a file is: `MediaInfo`, its streams, rational time, picture geometry, sampling times, the probe.

Pure but for the probe, which opens one local file. Knows no ffmpeg command line, no bucket and no Dagster.
"""
