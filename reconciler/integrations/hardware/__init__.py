"""How a machine is read: one file a vendor or tool; a dispatcher that never raises."""
