"""Benchmarks: nixsecrets against the programs people use today, on one machine."""
