"""localmodels: keeps the local language models of a machine equal to one committed YAML file.

Load the desired state, observe the machine, rank what fits, diff, plan, apply, record; ``watch`` does it again.
"""

__version__ = "0.1.0"
