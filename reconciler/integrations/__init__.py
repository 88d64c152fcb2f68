"""Everything that touches the world: one file, one thing, one port.

Foreign errors stop at this door and become ours (``reconciler.errors``); foreign shapes become domain values.
"""
