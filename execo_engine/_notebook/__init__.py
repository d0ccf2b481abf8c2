"""The notebook of an experiment: what each run was made of, and what it ran."""
