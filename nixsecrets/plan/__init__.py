"""What has to change, as values: steps, generated files, problems, safety rules."""
