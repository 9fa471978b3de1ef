"""Studies: a table of rows, the cells that are run for it, and the page of results."""
