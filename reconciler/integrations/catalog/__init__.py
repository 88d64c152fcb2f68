"""Where models are known from: the bundled snapshot, the Hub, a registry; one cache."""
