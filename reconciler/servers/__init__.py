"""What we serve to others: the mirror."""
