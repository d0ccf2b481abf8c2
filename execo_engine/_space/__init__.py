"""`ParameterSpace`: where its combinations come from (product, choosers, views), and what scripts see (space)."""
