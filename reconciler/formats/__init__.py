"""File formats as facts: bytes in, facts out, bounded in time and memory. No file is opened here."""
