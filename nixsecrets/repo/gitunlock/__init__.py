"""One passphrase prompt for all files that a `git log -p` shows."""
