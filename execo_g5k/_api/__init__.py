"""The REST API of Grid'5000."""
