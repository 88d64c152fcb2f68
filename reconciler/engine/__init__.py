"""Doing: observe, resolve, apply, reconcile, watch. Ports come in as arguments, domain values go through.

What does not belong here: a decision (planning), a library of the outside world (integrations), a printed word (cli).
"""
