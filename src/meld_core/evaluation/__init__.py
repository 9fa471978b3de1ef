"""What an agent can do and what its belief knows: scoring, intervals, certificate, probes, sweep."""
