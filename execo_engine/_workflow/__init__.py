"""The campaign: pure parts (durations, schedule, plan, replay, order), and what runs it (from answers to reservations, and stint)."""
