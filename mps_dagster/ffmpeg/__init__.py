"""Everything about running ffmpeg: filter graphs and argv (through ffmpeg-python), codecs, limits, progress.

Only `process.py` starts processes. This room uses `media`, but knows nothing about task types.
"""
