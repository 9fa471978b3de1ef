"""Data in and out: recorded trials rebuilt and replayed, trials for other programs, training from what is stored."""
