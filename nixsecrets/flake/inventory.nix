# What the configurations of a flake declare under age.secrets and sops.secrets.
#
# Uses only builtins of Nix 2.8.  Paths are converted with toString: interpolation would
# copy the file to the store.  sopsFileHash is not evaluated: it fails if the file is
# missing.  A value that throws is reported as null, a secret whose file throws as
# `error`.  Errors that tryEval cannot catch end the evaluation; the caller then
# evaluates one host at a time, and one that fails once more with `lean`: without what may
# fail for reasons that no host has (an input that cannot be fetched, legacyPackages).
{ flake, lean ? false }:
let
  inherit (builtins)
    attrNames
    concatMap
    elem
    filter
    hashFile
    hashString
    isAttrs
    isList
    isPath
    length
    listToAttrs
    map
    pathExists
    replaceStrings
    stringLength
    substring
    tryEval
    ;

  # --- values that may throw

  attempt = value: let tried = tryEval value; in if tried.success then tried.value else null;
  # null for what is absent, null or throws
  text = value: attempt (if value == null then null else toString value);
  texts =
    list:
    let
      tried = attempt (if isList list then list else [ ]);
    in
    filter (one: one != null) (map text (if tried == null then [ ] else tried));
  setOf = value: let tried = attempt (if isAttrs value then value else { }); in if tried == null then { } else tried;
  names = value: attrNames (setOf value);

  # --- where a file is

  root = toString (flake.sourceInfo.outPath or flake.outPath);
  inputs = if lean then { } else flake.inputs or { };
  inputRoots = concatMap (
    name:
    let
      place = attempt (toString (inputs.${name}.sourceInfo.outPath or inputs.${name}.outPath or ""));
    in
    if place == null || place == "" then [ ] else [ { inherit name place; } ]
  ) (names inputs);
  below = folder: path: substring 0 (stringLength folder + 1) path == folder + "/";
  rest = folder: path: substring (stringLength folder + 1) (stringLength path) path;

  inCopy = path: let inside = builtins.match "[^/]*/(.*)" path; in if inside == null then "" else builtins.head inside;
  # In normal form (`"${self}//x.age"`), without string context.
  normal = path: toString (/. + builtins.unsafeDiscardStringContext path);
  # Looking for the result of a derivation would build it.
  built = path: builtins.any (source: source ? outputs) (builtins.attrValues (builtins.getContext path));
  # readFileType fails below a link, and readDir in the store itself.  Nix before 2.14 has
  # no readFileType; it follows a link when it copies a file.
  isLink =
    value: path:
    if dirOf path == builtins.storeDir then
      builtins ? readFileType && builtins.readFileType value == "symlink"
    else
      (builtins.readDir (dirOf value)).${baseNameOf path} == "symlink";

  fileOf =
    given:
    let
      value = attempt (if isAttrs given then given.outPath else given);
      said = text value;
      path = normal said;
      from = filter (one: below one.place path) inputRoots;
      exists = pathExists value;
      state =
        { inherit exists; }
        // (
          if !exists then
            { }
          else if isLink value path && (isPath value || dirOf path == builtins.storeDir) then
            { link = true; }
          else if isLink value path && below root path then
            { } # whoever has the repository can follow it
          else
            { sha256 = hashFile "sha256" value; }
        );
    in
    if said == null then
      { error = "its file does not evaluate"; }
    else if built said then
      { built = true; }
    else if below root path then
      { file = rest root path; } // state
    else if length from > 0 then
      {
        file = rest (builtins.head from).place path;
        input = (builtins.head from).name;
        source = builtins.unsafeDiscardStringContext (builtins.head from).place;
      }
      // state
    else if below builtins.storeDir path then
      { copy = inCopy (rest builtins.storeDir path); } // state
    else
      { outside = path; };

  # --- secrets

  ageSecret = config: let install = installed config; in secret: fileOf secret.file // install secret;
  sopsSecret =
    config:
    let
      install = installed config;
    in
    secret:
    fileOf secret.sopsFile
    // install secret
    // {
      key = text (secret.key or null);
      format = text (secret.format or null);
      neededForUsers = attempt (secret.neededForUsers or false) == true;
    };
  installed =
    config:
    let
      passwords = passwordFiles config;
    in
    secret:
    let
      owner = text (secret.owner or null);
      unknownOwner = unknown config (config.users.users or { }) owner;
      units = texts (secret.restartUnits or [ ]) ++ texts (secret.reloadUnits or [ ]);
    in
    { inherit owner; mode = text (secret.mode or null); }
    // filled {
      inherit unknownOwner;
      # sops-nix asks the owner for the group
      unknownGroup =
        if unknownOwner != null then null else unknown config (config.users.groups or { }) (text (secret.group or null));
      unknownUnits = filter (unit: !(isUnit config unit)) units;
      passwordOf = if passwords == { } then [ ] else passwords.${bare (text (secret.path or ""))} or [ ];
    };
  # Most secrets have nothing to say here, and an inventory has thousands.
  filled = set: removeAttrs set (filter (name: elem set.${name} [ null [ ] ]) (attrNames set));

  # --- what a NixOS system has: users, groups, units

  # Elsewhere they may exist without being declared.
  isNixos = config: config ? boot;
  # A name that the set does not have, else null.  Most are root: nothing is evaluated.
  unknown =
    config: set: name:
    let
      has = one: attempt (set.${one}.name or one) == name && attempt (set.${one}.enable or true) == true;
      others = names (removeAttrs set [ name ]);
    in
    if name == null || elem name [ "" "0" "root" ] || !(isNixos config) then
      null
    else if (set ? ${name} && has name) || builtins.any has others then
      null
    else
      name;
  isUnit =
    config: unit:
    let
      found = builtins.match "([^@]+@?)(.*)\\.(service|socket|timer|target|path|slice)" unit;
      kind = config.systemd."${builtins.elemAt found 2}s" or { };
      base = "${builtins.elemAt found 0}${builtins.elemAt found 1}";
    in
    if !(isNixos config) || builtins.match ".*\\.(mount|automount|swap|device|scope)" unit != null then
      true
    else
      found != null && (kind ? ${base} || kind ? ${builtins.elemAt found 0});
  # for the name of an attribute, which may have no string context
  bare = text: if text == null then "" else builtins.unsafeDiscardStringContext text;
  # path -> users whose password is read from there
  passwordFiles =
    config:
    let
      users = config.users.users or { };
      fileOf = name: bare (text (users.${name}.hashedPasswordFile or users.${name}.passwordFile or null));
      # the builders of Nix have no password, and are many
      people = filter (name: substring 0 6 name != "nixbld") (if isNixos config then names users else [ ]);
    in
    builtins.mapAttrs (_: map (one: one.name)) (
      builtins.groupBy (one: one.file) (
        filter (one: one.file != "") (map (name: { inherit name; file = fileOf name; }) people)
      )
    );
  listed =
    describe: set:
    map (
      name:
      let
        tried = attempt (describe set.${name});
      in
      { inherit name; } // (if tried == null then { error = "it does not evaluate"; } else tried)
    ) (names set);

  contains = needle: content: replaceStrings [ needle ] [ "" ] content != content;
  templates =
    config:
    let
      inherit (config) sops;
    in
    map (
      name:
      let
        template = sops.templates.${name};
        content = text (template.content or null);
        placeholder = secret: "<SOPS:${hashString "sha256" secret}:PLACEHOLDER>";
      in
      {
        inherit name;
        uses =
          if content == null then
            null
          else
            filter (secret: contains (placeholder secret) content) (names (sops.secrets or { }));
      }
      // installed config template
    ) (names (sops.templates or { }));

  ageOf =
    config:
    if (config.age or { }) ? secrets then
      {
        identityPaths = texts (config.age.identityPaths or [ ]);
        secrets = listed (ageSecret config) config.age.secrets;
      }
    else
      null;
  sopsOf =
    config:
    if (config.sops or { }) ? secrets then
      {
        sshKeyPaths = texts (config.sops.age.sshKeyPaths or [ ]);
        keyFile = text (config.sops.age.keyFile or null);
        generateKey = attempt (config.sops.age.generateKey or false) == true;
        sshPrivateKeyFile = text (config.sops.environment.SOPS_AGE_SSH_PRIVATE_KEY_FILE or null);
        gnupg = texts (config.sops.gnupg.sshKeyPaths or [ ]) != [ ] || text (config.sops.gnupg.home or null) != null;
        secrets = listed (sopsSecret config) config.sops.secrets;
        templates = templates config;
      }
    else
      null;

  # --- options of nixpkgs whose text ends up in the store, readable by everyone
  #
  # Each has a sister that takes a file or a reference.  `*` is every name or element.  The
  # text itself is never reported.

  # As a tree, of which a system has few branches.
  openOptions = branches (map (one: { path = filter builtins.isString (builtins.split "\\." one.option); inherit (one) instead; }) [
    { option = "networking.wg-quick.interfaces.*.privateKey"; instead = "privateKeyFile"; }
    { option = "networking.wg-quick.interfaces.*.peers.*.presharedKey"; instead = "presharedKeyFile"; }
    { option = "networking.wireguard.interfaces.*.privateKey"; instead = "privateKeyFile"; }
    { option = "networking.wireguard.interfaces.*.peers.*.presharedKey"; instead = "presharedKeyFile"; }
    { option = "networking.wireless.networks.*.psk"; instead = "pskRaw, with networking.wireless.secretsFile"; }
    { option = "services.borgbackup.jobs.*.encryption.passphrase"; instead = "passCommand"; }
    { option = "services.coturn.static-auth-secret"; instead = "static-auth-secret-file"; }
    { option = "services.gitea.database.password"; instead = "passwordFile"; }
    { option = "services.grafana.settings.security.admin_password"; instead = "\"$__file{/run/…}\""; }
    { option = "services.grafana.settings.security.secret_key"; instead = "\"$__file{/run/…}\""; }
    { option = "services.hostapd.radios.*.networks.*.authentication.wpaPassword"; instead = "wpaPasswordFile"; }
    { option = "services.k3s.agentToken"; instead = "agentTokenFile"; }
    { option = "services.k3s.token"; instead = "tokenFile"; }
    { option = "services.matrix-synapse.settings.registration_shared_secret"; instead = "registration_shared_secret_path"; }
    { option = "services.mosquitto.listeners.*.users.*.hashedPassword"; instead = "hashedPasswordFile"; }
    { option = "services.mosquitto.listeners.*.users.*.password"; instead = "passwordFile"; }
    { option = "services.redis.servers.*.requirePass"; instead = "requirePassFile"; }
    { option = "services.rke2.agentToken"; instead = "agentTokenFile"; }
    { option = "services.rke2.token"; instead = "tokenFile"; }
    { option = "services.shadowsocks.password"; instead = "passwordFile"; }
    { option = "services.transmission.settings.rpc-password"; instead = "services.transmission.credentialsFile"; }
    { option = "services.vaultwarden.config.ADMIN_TOKEN"; instead = "services.vaultwarden.environmentFile"; }
    { option = "users.users.*.hashedPassword"; instead = "hashedPasswordFile"; }
    { option = "users.users.*.initialHashedPassword"; instead = "hashedPasswordFile"; }
    { option = "users.users.*.initialPassword"; instead = "hashedPasswordFile"; }
    { option = "users.users.*.password"; instead = "hashedPasswordFile"; }
  ]);
  branches =
    list:
    if (builtins.head list).path == [ ] then
      (builtins.head list).instead
    else
      builtins.mapAttrs (_: below: branches (map (one: one // { path = builtins.tail one.path; }) below)) (
        builtins.groupBy (one: builtins.head one.path) list
      );
  inStore = config: if isNixos config then opened "" openOptions config else [ ];
  opened =
    at: tree: value:
    let
      known = attempt value;
      step = below: name: opened (if at == "" then name else "${at}.${name}") below;
      people = filter (name: substring 0 6 name != "nixbld") (attrNames known);
    in
    if builtins.isString tree then
      (if builtins.isString known && isSecret known then [ { option = at; instead = tree; } ] else [ ])
    else if isList known then
      (if tree ? "*" then concatMap (step tree."*" "*") known else [ ])
    else if !(isAttrs known) || attempt (known.enable or true) == false then
      [ ]
    else if tree ? "*" then
      concatMap (name: step tree."*" name known.${name}) people
    else
      concatMap (name: step tree.${name} name known.${name}) (attrNames (builtins.intersectAttrs tree known));
  # no path, no reference to a file or variable, no disabled or default password
  isSecret =
    value:
    builtins.match "(/|\\$__|\\$\\{|ext:|@|!|\\*|<SOPS:).*" value == null && !(elem value [ "" "x" "admin" ]);

  # --- the parts of a configuration that install secrets of their own

  part = at: config: {
    inherit at;
    user = null;
    container = null;
    age = ageOf config;
    sops = sopsOf config;
    persistent = persistent (config.environment.persistence or { });
    inStore = inStore config;
    usersByUnit = attempt (config.systemd.sysusers.enable or false) == true || attempt (config.services.userborn.enable or false) == true;
    mapName = mapName config (config.networking.hostName or null);
  };
  # a name in the map that is not the default
  mapName =
    config: default:
    let
      name = text (config.nixsecrets.name or null);
    in
    if name == text default then null else name;
  # impermanence: a volume can be declared and turned off
  persistent =
    volumes:
    concatMap (
      name:
      let
        volume = volumes.${name};
        path = text (volume.persistentStoragePath or name);
      in
      if attempt (volume.enable or true) == false then [ ] else [ (if path == null then name else path) ]
    ) (names volumes);
  home =
    at: config: name:
    let
      inside = config.home-manager.users.${name};
    in
    part "${at}home-manager user ${name}" inside // homeOf inside name;
  homeOf = config: user: {
    inherit user;
    persistent = [ ];
    mapName = mapName config (config.home.username or null);
  };
  homes = at: config: map (home at config) (names ((config.home-manager or { }).users or { }));
  specialised =
    config:
    concatMap (
      name:
      let
        inside = config.specialisation.${name}.configuration;
        at = "specialisation ${name}";
      in
      [ (part at inside) ] ++ homes "${at}, " inside ++ guests "${at}, " inside
    ) (names (config.specialisation or { }));

  # --- systems inside of the system, and what they see of its files

  guests =
    at: config:
    concatMap (name: container "${at}container ${name}" name config.containers.${name}) (
      names (config.containers or { })
    )
    ++ concatMap (name: nspawn "${at}nspawn container ${name}" name config.virtualisation.nspawn.containers.${name}) (
      names (config.virtualisation.nspawn.containers or { })
    )
    ++ concatMap (name: microvm "${at}microvm ${name}" name config.microvm.vms.${name}) (
      names (config.microvm.vms or { })
    );
  guest =
    at: name: config: more:
    [ (part at config // { container = name; } // more) ]
    ++ map (one: one // { container = name; }) (homes "${at}, " config);
  # With `path`, a container is built elsewhere and there is no `config`.
  inside = box: if attempt box.config == null && text (box.path or null) != null then { } else box.config;
  container =
    at: name: box:
    guest at name (inside box) {
      ephemeral = attempt (box.ephemeral or false) == true;
      # root of another user namespace cannot read a key of root
      binds =
        if elem (attempt (box.privateUsers or "no")) [ "no" "identity" ] then
          mounts (box.bindMounts or { }) ++ concatMap mountOf (texts (box.extraFlags or [ ]))
        else
          [ ];
    };
  mounts =
    set:
    map (
      name:
      let
        from = text (set.${name}.hostPath or null);
        at = text (set.${name}.mountPoint or name);
      in
      { inherit at; from = if from == null then at else from; }
    ) (names set);
  mountOf =
    flag:
    let
      found = builtins.match "--bind(-ro)?=([^:]*)(:([^:]+))?(:.*)?" flag;
      from = builtins.elemAt found 1;
      at = builtins.elemAt found 3;
    in
    if found == null then [ ] else [ { inherit from; at = if at == null then from else at; } ];
  nspawn =
    at: name: box:
    guest at name (inside box) {
      ephemeral = true;
      binds = filter (mount: elem "idmap" (texts (box.binds.${mount.at}.options or [ ]))) (mounts (box.binds or { }));
    };
  # A guest of this flake is a configuration like any other.
  microvm =
    at: name: box:
    let
      made = if (box.config or null) != null then box.config else box.flake.nixosConfigurations.${name};
      inherit (made) config;
      shares = config.microvm.shares or [ ];
    in
    if (box.config or null) == null && (text (box.flake or null) == root || (box.flake or null) == null) then
      [ ]
    else
      guest at name config { binds = map (share: { at = text share.mountPoint; from = text share.source; }) shares; };
  used = one: one.age != null || one.sops != null || one.inStore != [ ];
  system = config: filter used ([ (part "" config) ] ++ homes "" config ++ specialised config ++ guests "" config);

  # --- a hive as colmena gets it: `colmena = { meta = …; brunnen = …; }`
  #
  # Evaluated by colmena's own function where the flake has colmena as an input; else as
  # colmena does, with the nixpkgs of `meta`.  Its machines are known without either.

  raw = if builtins.isFunction (flake.colmena or { }) then flake.colmena { } else flake.colmena or { };
  makeHive = (inputs.colmena.lib or { }).makeHive or (hive: { nodes = nodesOf hive; });
  nodesOf =
    hive:
    let
      meta = hive.meta or hive.network or { };
      node =
        more: name:
        let
          pkgs = (meta.nodeNixpkgs or { }).${name} or meta.nixpkgs or (throw "colmena: meta.nixpkgs is not set");
        in
        import (pkgs.path + "/nixos/lib/eval-config.nix") {
          system = (pkgs.stdenv.hostPlatform or pkgs).system;
          modules = [
            more
            (deployment name)
            { nixpkgs = { inherit (pkgs) config overlays; }; }
            (hive.defaults or { })
          ] ++ (if isList hive.${name} then hive.${name} else [ hive.${name} ]);
          specialArgs = (meta.specialArgs or { }) // ((meta.nodeSpecialArgs or { }).${name} or { }) // {
            inherit name nodes;
          };
        };
      # what the machines see of each other: checked where it is their own turn
      nodes = named (machines hive) (node { _module.check = false; });
    in
    named (machines hive) (node { });
  machines = hive: attrNames (removeAttrs hive [ "meta" "network" "defaults" ]);
  # Anything may be set here, and what modules ask of it has colmena's defaults.
  deployment =
    name:
    { lib, ... }:
    {
      options.deployment = lib.mkOption {
        type = lib.types.attrsOf lib.types.anything;
        default = { };
        apply =
          said:
          {
            targetHost = name;
            targetPort = null;
            targetUser = "root";
            tags = [ ];
          }
          // said
          // { keys = builtins.mapAttrs keyOf (said.keys or { }); };
      };
    };
  keyOf =
    name: said:
    {
      inherit name;
      destDir = "/run/keys";
      path = "${said.destDir or "/run/keys"}/${said.name or name}";
      user = "root";
      group = "root";
      permissions = "0600";
    }
    // said;
  named = list: f: listToAttrs (map (name: { inherit name; value = f name; }) list);

  # --- configurations

  configurations = {
    nixos = flake.nixosConfigurations or { };
    darwin = flake.darwinConfigurations or { };
    home = flake.homeConfigurations or { };
    # a hive is often the very nixosConfigurations: reported once
    colmena = removeAttrs hive (attrNames (flake.nixosConfigurations or { }));
  };
  hive = if flake ? colmenaHive then flake.colmenaHive.nodes or { } else named (machines raw) (name: made.nodes.${name});
  made = makeHive raw;
  # home-manager looks there too; often one name for several platforms
  homesOf = platform: flake.legacyPackages.${platform}.homeConfigurations or { };
  platforms = if lean then [ ] else names (flake.legacyPackages or { });
  legacyHomes = concatMap (
    platform:
    map (name: { kind = "home"; inherit name platform; }) (
      attrNames (removeAttrs (setOf (homesOf platform)) (attrNames configurations.home))
    )
  ) platforms;
  describe =
    { kind, name, platform ? null }:
    let
      inherit ((if platform == null then configurations.${kind} else homesOf platform).${name}) config;
      user = text (config.home.username or null);
    in
    {
      inherit kind name;
      hostName = text ((config.networking or { }).hostName or null);
      parts =
        if kind == "home" then
          filter used [
            (part (if platform == null then "" else platform) config // homeOf config (if user == null then name else user))
          ]
        else
          system config;
    };
in
{
  hosts =
    concatMap (kind: map (name: { inherit kind name; }) (attrNames configurations.${kind})) (
      attrNames configurations
    )
    ++ legacyHomes;
  inherit describe;
}
