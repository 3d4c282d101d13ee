"""Three sides of a repository as one: map, readers of each secret, and its values."""
