"""What the command `meld` does, one module per command."""
