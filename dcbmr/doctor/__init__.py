"""What a machine and an installation are like, what is wrong with them, and whether the kernels are right."""
