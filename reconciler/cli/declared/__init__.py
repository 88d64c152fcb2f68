"""Commands as they are typed: names, options, help. Each loads what it does when it is run."""
