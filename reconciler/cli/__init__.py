"""Strings in, text or JSON out: options, commands, views, wiring. No decision is taken here."""
