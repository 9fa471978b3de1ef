"""Which weights may act: tried on fixed observations, of this run, newer, and no worse than before."""
