"""Names of the values in a row of the history that more than one module knows."""

ACCURACY, LOSS = "discriminator/accuracy", "discriminator/loss"
VARIANCE, NEAREST = "diversity/variance", "diversity/nearest"
SHORTCUTS = "shortcuts/"  # shares of samples; the name of the network, if several are scored, and the sign follow
