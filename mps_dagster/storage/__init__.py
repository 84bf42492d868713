"""Where bytes live: the `Bucket` protocol, a local folder, S3 and all that speaks S3, and a fake in memory.

Holds no media knowledge and starts nothing. May import settings and errors.
"""
