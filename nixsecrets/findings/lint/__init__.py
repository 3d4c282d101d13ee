"""What is odd in the map and the configurations, though nothing differs from it yet."""
