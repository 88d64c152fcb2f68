"""Numbers that decide: what a candidate takes in memory, how fast and how good it is, and the order that follows.

* candidates, quants (quant_bits), profiles: what is ranked, and for what.
* memory (kv_cache, compute): bytes by parts, and the longest context.
* speed (decode), corrected by calibration: what was measured on this very machine.
* quality (evidence, scales, shares, recency, merge): benchmarks of many sources as one number.
* score, rank: one number, one order.
* scoring, scoring_memory (measured): how well speed and memory hold on other people's measurements. Nothing that
  ranks imports these.

Pure functions over domain values. What does not belong here: which of two candidates is installed (planning).
"""
