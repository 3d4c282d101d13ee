"""What opens a passphrase once for a whole `git log`, and ends with it."""
