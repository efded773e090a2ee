"""The voice: `fairlead` on a terminal. It asks and tells; it decides nothing."""
