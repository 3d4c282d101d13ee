# The options that a module declares below one name, as text: type, default, read-only.
#
# What a default computes is not evaluated: only whether there is one, and a plain value.
{ lib }:
{
  module,
  name,
  base ? { },
  pkgs ? { },
}:
let
  inherit (builtins) attrNames concatMap isAttrs isString listToAttrs tryEval;
  evaluated = lib.evalModules {
    specialArgs = { inherit pkgs; };
    modules = [
      module
      base
      { config._module.check = false; }
    ];
  };
  isOption = value: isAttrs value && (value._type or "") == "option";
  plain = value: value == null || builtins.isBool value || builtins.isInt value || isString value || value == [ ] || value == { };
  default =
    option:
    let
      tried = tryEval (if plain option.default then builtins.toJSON option.default else "computed");
    in
    if option ? defaultText then
      "computed"
    else if !(option ? default) then
      "none"
    else if tried.success then
      tried.value
    else
      "computed";
  listed =
    place: options:
    concatMap (
      name:
      let
        option = options.${name};
        here = if place == "" then name else "${place}.${name}";
        inside = if option.type ? getSubOptions then option.type.getSubOptions [ ] else { };
      in
      if name == "_module" || !isAttrs option then
        [ ]
      else if !isOption option then
        listed here option
      else if (option.visible or true) != true then
        [ ]
      else
        [
          {
            name = here;
            value = "${option.type.description or option.type.name}; ${default option}${
              if option.readOnly or false then "; read-only" else ""
            }";
          }
        ]
        ++ listed "${here}.*" inside
    ) (attrNames options);
in
listToAttrs (listed name (evaluated.options.${name}))
