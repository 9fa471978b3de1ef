"""What people look at: progress, plots, films, pictures of beliefs, the report of a run."""
