"""Everything on disk: byte formats, spool, ledger, checkpoints, a run's folder, and whether all of it is sound."""
