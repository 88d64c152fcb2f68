"""Nouns: frozen values, units and names that every layer speaks in.

What belongs here: data types, their invariants, parsing and printing of units and names.
What does not: a choice (that is planning), a number that is estimated (ranking), a file, a clock, a network.
"""
