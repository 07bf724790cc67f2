"""Named configs. The first comment of each describes it; for losses, with an example command, its time and score."""
