# For a flake's outputs: checks = nixsecrets.lib.checks { inherit self; };
#
# `nixsecrets` runs `nixsecrets check` over the files. `nixsecrets-hosts` fails if a
# configuration, with or without our module, declares a secret that it cannot decrypt: when it
# is built, so that `nix flake show` neither fails nor evaluates every configuration.
{
  checkWith,
  forEach,
  packages,
}:
{
  self,
  root ? self,
}:
let
  inherit (builtins) attrNames attrValues concatMap concatStringsSep head;

  place = if builtins.isPath root then root else /. + builtins.unsafeDiscardStringContext (toString root);
  fleet = (import ./lib.nix).fleet place;

  # the first of these names that the map has, as `check --flake` takes it
  nameIn =
    owners: names:
    let
      known = builtins.filter (name: name != null && owners ? ${name}) names;
    in
    head (known ++ names);
  # a configuration with our module has judged itself
  judged =
    owners: names: config:
    let
      own = (config.nixsecrets or { }).problems or null;
    in
    if own == null then fleet.problemsOf (nameIn owners names) config else own;
  ofHome = name: config: judged fleet.users [ name config.home.username ] config;
  ofHost =
    name: config:
    judged fleet.hosts [ name (config.networking.hostName or null) ] config
    ++ concatMap (user: ofHome user config.home-manager.users.${user}) (attrNames (config.home-manager.users or { }));

  judge =
    problemsOf: configurations:
    concatMap (
      name: map (problem: "${name}: ${problem}") (problemsOf name configurations.${name}.config)
    ) (attrNames configurations);
  problems =
    if !builtins.pathExists (place + "/nixsecrets.toml") then
      [ "the flake has no nixsecrets.toml; run `nixsecrets init`, then git add nixsecrets.toml" ]
    else
      judge ofHost (self.nixosConfigurations or { } // self.darwinConfigurations or { })
      ++ judge ofHome (self.homeConfigurations or { });
in
forEach (
  pkgs: system: {
    nixsecrets = checkWith {
      inherit pkgs root;
      package = packages.${system}.nixsecrets;
    };
    nixsecrets-hosts =
      pkgs.runCommand "nixsecrets-hosts"
        { problems = concatStringsSep "\n" (map (problem: "nixsecrets: ${problem}") problems); }
        ''
          if [ -n "$problems" ]; then
            echo "$problems" >&2
            exit 1
          fi
          touch $out
        '';
  }
)
