"""The command line: one file per command; nothing else prints, asks or exits."""
