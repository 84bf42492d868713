"""Where bytes live: the `Bucket` protocol, a local folder, S3 and all that speaks S3, a fake in memory; and
tables in SQLite or PostgreSQL.

Holds no media knowledge and starts nothing. May import settings and errors.
"""
