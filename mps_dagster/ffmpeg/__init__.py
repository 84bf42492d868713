"""How we speak to ffmpeg: filter graphs and argv (through ffmpeg-python), codecs, limits, progress.

`process.py` alone starts processes. Knows what a file is (media), not what the product offers (tasks).
"""
