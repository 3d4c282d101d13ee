# docs/options.md: the options of the modules as Markdown, from the modules themselves.
#
#   nix eval --raw --impure --expr 'import ./nix/options.nix { inherit (import <nixpkgs> { }) lib; }'
{ lib }:
let
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    filter
    isAttrs
    isString
    map
    match
    split
    ;
  modules = import ./modules.nix;

  # no option is evaluated, so what the modules read need not exist
  optionsOf =
    module:
    (lib.evalModules {
      modules = [
        module
        { config._module.check = false; }
      ];
    }).options.nixsecrets;
  isOption = value: isAttrs value && (value._type or "") == "option";

  listed =
    place: options:
    concatMap (
      name:
      let
        option = options.${name};
        here = place ++ [ name ];
        inside = if option ? type && option.type ? getSubOptions then option.type.getSubOptions here else { };
      in
      if !isOption option then
        if isAttrs option && name != "_module" then listed here option else [ ]
      else if option.internal or false then
        [ ]
      else
        [ (entry here option) ] ++ listed (here ++ [ "<name>" ]) inside
    ) (attrNames options);

  # text on one line or more, without the common indentation of a '' string
  paragraph = text: concatStringsSep " " (filter (word: isString word && word != "") (split "[ \n]+" text));
  quoted = text: "\"${builtins.replaceStrings [ "\\" "\"" ] [ "\\\\" "\\\"" ] text}\"";
  literal =
    value:
    if isAttrs value && value ? text then
      value.text
    else if isString value then
      quoted value
    else if builtins.isList value then
      if value == [ ] then "[ ]" else "[ ${concatStringsSep " " (map literal value)} ]"
    else if value == { } then
      "{ }"
    else
      builtins.toJSON value;
  # what is no code (`literalMD`) stands as it is
  shown =
    label: value:
    let
      text = literal value;
    in
    if isAttrs value && (value._type or "") == "literalMD" then
      [ "${label}: ${text}" ]
    else if match ".*\n.*" text == null then
      [ "${label}: `${text}`" ]
    else
      [ "${label}:\n\n```nix\n${text}```" ];
  entry =
    place: option:
    concatStringsSep "\n\n" (
      [
        "### `${concatStringsSep "." place}`"
        (paragraph option.description)
        "Type: ${option.type.description or option.type.name}${if option.readOnly or false then " (read-only)" else ""}"
      ]
      ++ (
        if option ? defaultText then
          shown "Default" option.defaultText
        else if option ? default then
          shown "Default" option.default
        else
          [ ]
      )
      ++ (if option ? example then shown "Example" option.example else [ ])
    )
    + "\n";
  entriesOf = module: listed [ "nixsecrets" ] (optionsOf module);
  system = entriesOf modules.nixos;
  home = filter (one: !(builtins.elem one system)) (entriesOf modules.home);
in
''
  # Options of the modules

  Nix renders this page from the modules (`python -m tests.options_doc --write`). How to use
  them: [nixos.md](nixos.md).

  ## NixOS and nix-darwin

  `nixosModules.default`, `darwinModules.default`.

''
+ concatStringsSep "\n" system
+ ''

  ## home-manager

  `homeModules.default` has the same options; these read differently:

''
+ concatStringsSep "\n" home
