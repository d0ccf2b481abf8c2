"""The campaign: pure parts (durations, schedule, plan, replay), and what runs a combination in a thread."""
