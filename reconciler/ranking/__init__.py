"""Numbers that decide: quants, memory, speed, evidence, recency, merge, score.

Pure functions over domain values. What does not belong here: which of two candidates is installed (planning).
"""
