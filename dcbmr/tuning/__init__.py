"""Settings chosen by what is held out of training, with Optuna."""
