"""The command line: one file per command; nothing else prints, asks or exits."""

import gc

# New objects between two collections.  Modules that are being loaded hold no garbage:
# with the default, click alone is searched 19 times, for 3 ms.
gc.set_threshold(50_000)
