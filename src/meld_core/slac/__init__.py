"""The published two-level latent model (SLAC, MELD): the baseline."""
