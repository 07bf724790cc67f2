"""Named configs; the comments at the head of each say what it is, and of a game what it gives."""
