"""One module for each command, with its `command`; nothing else."""
