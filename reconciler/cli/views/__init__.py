"""Results as people and programs read them: values in, text out."""
