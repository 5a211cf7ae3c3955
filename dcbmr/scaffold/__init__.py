"""A new plugin package, written out of templates: complete, and working at once."""
