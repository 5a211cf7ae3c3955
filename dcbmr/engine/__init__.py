"""Where blocks of work are done when one machine is not enough: on the workers of a Ray cluster."""
