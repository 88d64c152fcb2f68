"""How a machine is read: one file a vendor or tool, a dispatcher that never raises, a simulator that runs nothing.

Belongs here: running tools, reading ``/sys`` and ``/proc``, the device table. Does not: judging what fits (planning),
or how fast a model runs on what was found (ranking).
"""
