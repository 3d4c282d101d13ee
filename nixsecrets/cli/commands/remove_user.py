"""`nixsecrets remove-user`: a person leaves the fleet."""

from nixsecrets.cli.removal import removal_command
from nixsecrets.map import edit

command = removal_command(
    "user", edit.remove_user, what="person", they="they", name="bob", reason="left"
)
