"""What a file contains: `MediaInfo`, its streams, rational time, picture geometry, sampling times, the probe.

Only the probe opens a file, and only a local one. Nothing here knows ffmpeg command lines, buckets or Dagster.
"""
