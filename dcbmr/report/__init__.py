"""One HTML file about an experiment."""
