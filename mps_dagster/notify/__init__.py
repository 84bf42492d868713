"""A durable outbox and its sinks: SQS, CMQ, URL and the embedded local queue. Delivers at least once.

An event is a JSON body with an id; what is in it is not known here. May import storage, settings and errors.
"""
