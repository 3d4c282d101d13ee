"""`nixsecrets remove-host`: a machine leaves the fleet."""

from nixsecrets.cli.removal import removal_command
from nixsecrets.map import edit

command = removal_command(
    "host", edit.remove_host, what="host", they="it", name="brunnen", reason="sold"
)
