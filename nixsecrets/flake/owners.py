"""Whose keys the secrets of a part are decrypted with."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial

from nixsecrets.flake.declared import AgeSide, Configuration, Part, SopsSide
from nixsecrets.flake.identitypaths import BY_DEFAULT, Keys, keys_of
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.model import Host, User
from nixsecrets.world.world import World

_MAIN = Part("", None, None, None, None)
"""A host itself, if nothing is known about it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The host or user whose keys a part has; `found` is its entry in the map.

    `around` is the entry of the host that a container runs on, `outside` the paths of
    that host's private keys.
    """

    name: str
    kind: str
    found: Host | User | None
    around: Host | None = None
    outside: frozenset[str] = frozenset()

    @property
    def keys(self) -> tuple[Recipient, ...]:
        return () if self.found is None else self.found.keys

    def keys_of(self, side: AgeSide | SopsSide, part: Part) -> Keys:
        """Return the keys with which a part opens the secrets of one of its sides."""
        unreached = "not bind-mounted from a private key of the host"
        if self.found is self.around:
            unreached = f"{unreached}; the map has no key of the container"
        elif part.ephemeral:
            unreached = f"{unreached}; the container is ephemeral"
        return keys_of(side, self.keys, partial(self._keys_at, part), unreached)

    def _keys_at(self, part: Part, path: str) -> tuple[Recipient, ...]:
        """Return the keys whose private half may be at a path of the part."""
        if part.container is None or part.user is not None or part.binds is None:
            return self.keys
        own = () if self.found is self.around else self.keys
        source = part.source_of(path)
        if source is None:
            return () if part.ephemeral else own
        of_host = source in self.outside or BY_DEFAULT.search(source)
        return (*own, *(self.around.keys if of_host and self.around else ()))


def owner_of(
    world: World, configuration: Configuration, part: Part | None = None
) -> Owner:
    """Return the owner of the keys that decrypt a part's secrets, or the first part's.

    A container has its own keys if it is in the map, under its `nixsecrets.name`, as
    HOST.CONTAINER or as CONTAINER; else those of its host.  A home has those of its
    user, which may have the configuration's name in the map.
    """
    if part is None:
        home = configuration.kind == "home"
        parts = (one for one in configuration.parts if home or not one.at)
        part = next(parts, _MAIN)
    own = [configuration.name, configuration.host_name]
    if part.user is not None:
        users = {user.name: user for user in world.map.users}
        names = [part.map_name, configuration.name, part.user]
        name = _first(names, users) or part.user
        return Owner(name, "user", users.get(name))
    hosts = {host.name: host for host in world.map.hosts}
    if part.container is None:
        name = _first([part.map_name, *own], hosts) or configuration.name
        return Owner(name, "host", hosts.get(name))
    host = owner_of(world, configuration)
    around = world.map.host(host.name)
    inside = [f"{one}.{part.container}" for one in (*own, host.name) if one]
    name = _first([part.map_name, *inside, part.container], hosts) or host.name
    paths = (one.identity_paths for one in configuration.parts if not one.at)
    outside = frozenset(path for some in paths for path in some)
    return Owner(name, "host", hosts.get(name), around, outside)


def _first(names: Iterable[str | None], known: Collection[str]) -> str | None:
    """Return the first name that is known, None if none is."""
    return next((name for name in names if name is not None and name in known), None)
