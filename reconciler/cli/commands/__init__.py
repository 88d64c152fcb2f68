"""One file a command: arguments to an engine call, its result to a view."""
