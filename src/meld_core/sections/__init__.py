"""The sections of meld_core/config.py: every setting with default, unit, range and meaning."""
