"""Host keys as machines show them: over the network, or the machine we sit on.

Reads keys and says what went wrong; whether a key is believed is not decided here.
"""
