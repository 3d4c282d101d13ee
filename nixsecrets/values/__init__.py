"""The values of secrets: which are exposed, where a value of today stood before."""
