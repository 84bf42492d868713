"""A page per source, for people: what a task run says, as JSON that a page in the browser shows; and its files in a bucket.

Knows task runs, results and buckets; not Dagster, and not HTTP.
"""
