"""Targets: one file a runtime; all behind the ``Runtime`` port."""
