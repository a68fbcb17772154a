"""How exported entries are written. One file per format; they know lines, not the database or who asks."""
