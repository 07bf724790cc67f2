"""Named configs; the first comment of each says what it is."""
