"""Files of the user: the desired state read with positions, and edited with its comments kept."""
