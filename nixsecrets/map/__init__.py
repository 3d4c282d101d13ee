"""The recipient map: load, edit, resolve to the desired readers; path matching.

Pure: text in, values out.  No clock, environment, file system or subprocess.
"""
