"""The usage policy of Grid'5000, once its charter."""
