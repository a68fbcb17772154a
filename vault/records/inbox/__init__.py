"""The inbox: what waits to be filed, what arrives in pieces, and the desk of the quarantine."""
