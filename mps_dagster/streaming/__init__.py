"""Adaptive streaming: how a set of renditions is named and described, and the playlists and manifests that players read.

Pure text and numbers, and the encryption of segments; what runs the packager is execution/packaging.py. May import frozen and
errors.
"""
