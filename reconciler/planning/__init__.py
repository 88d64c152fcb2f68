"""Decisions: who is eligible, who fills a slot, what changes, in which order, and whether it may.

Everything here is a pure function of its arguments: no clock, file, network or randomness.
Reasons explain; no decision is taken by them.
"""
