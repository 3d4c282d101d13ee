# A small library and module system: options with types and defaults, mkIf, mkMerge,
# mkDefault, mkForce, imports, submodules, and an error for an option nobody declared.
let
  inherit (builtins)
    all
    attrNames
    attrValues
    concatLists
    concatMap
    concatStringsSep
    elem
    elemAt
    filter
    foldl'
    head
    isAttrs
    isFunction
    isList
    length
    listToAttrs
    map
    mapAttrs
    seq
    ;

  isType = type: value: isAttrs value && (value._type or null) == type;

  # --- definitions: what several modules say about one place

  discharge =
    value:
    if isType "if" value then
      if value.condition then discharge value.content else [ ]
    else if isType "merge" value then
      concatMap discharge value.contents
    else
      [ value ];
  # Above the options a condition is handed down, not decided: it may ask for `config`.
  spread =
    value:
    if isType "if" value then
      map (mapAttrs (_: content: lib.mkIf value.condition content)) (spread value.content)
    else if isType "merge" value then
      concatMap spread value.contents
    else
      [ value ];
  into = values: name: concatMap (value: if value ? ${name} then [ value.${name} ] else [ ]) values;

  priority = value: if isType "override" value then value.priority else 100;
  strip = value: if isType "override" value then value.content else value;
  strongest =
    values:
    let
      best = foldl' (low: value: if priority value < low then priority value else low) 9999 values;
    in
    map strip (filter (value: priority value == best) values);

  # --- types

  plain = name: check: {
    inherit name;
    description = name;
    merge =
      loc: values:
      if length values > 1 && !all (value: value == head values) values then
        throw "The option `${concatStringsSep "." loc}' has conflicting definition values"
      else if check (head values) then
        head values
      else
        throw "A definition for option `${concatStringsSep "." loc}' is not of type `${name}'.";
  };
  names = values: attrNames (foldl' (one: other: one // other) { } values);
  types = {
    str = plain "string" builtins.isString;
    bool = plain "boolean" builtins.isBool;
    int = plain "signed integer" builtins.isInt;
    path = plain "absolute path" (value: builtins.isPath value || builtins.isString value || value ? outPath);
    raw = plain "raw value" (_: true);
    anything = {
      name = "anything";
      description = "anything";
      merge =
        loc: values:
        (if all isAttrs values then types.attrsOf types.anything else types.raw).merge loc values;
    };
    enum = choices: plain "one of ${concatStringsSep ", " choices}" (value: elem value choices);
    nullOr = type: {
      name = "null or ${type.name}";
      description = "null or ${type.description}";
      merge = loc: values: if all isNull values then null else type.merge loc values;
    };
    listOf = type: {
      name = "list of ${type.name}";
      description = "list of ${type.description}";
      merge = loc: values: map (value: type.merge loc [ value ]) (concatLists values);
    };
    attrsOf = type: {
      name = "attribute set of ${type.name}";
      description = "attribute set of ${type.description}";
      getSubOptions = type.getSubOptions or (_: { });
      merge =
        loc: values:
        listToAttrs (
          map (name: {
            inherit name;
            value = type.merge (loc ++ [ name ]) (strongest (concatMap discharge (into values name)));
          }) (names values)
        );
    };
    submodule = types.submoduleWith (value: value);
    # for one that has an option called `config`: what is said of it is no module
    valueSubmodule = types.submoduleWith (value: { config = value; });
    submoduleWith = asModule: modules: {
      name = "submodule";
      description = "(submodule)"; # as nixpkgs has it inside of another type
      getSubOptions =
        place:
        (evalModules {
          modules = if isList modules then modules else [ modules ];
          specialArgs.name = "<name>";
        }).options;
      merge =
        loc: values:
        (evalModules {
          modules = (if isList modules then modules else [ modules ]) ++ map asModule values;
          specialArgs.name = elemAt loc (length loc - 1);
        }).config;
    };
  };

  # --- modules

  evalModules =
    {
      modules,
      specialArgs ? { },
    }:
    let
      args = { inherit config options lib; } // specialArgs;
      collect =
        module:
        let
          raw = if isFunction module then module args else if isAttrs module then module else import module;
          known = if isFunction raw then raw args else raw;
          wrapped = known ? options || known ? config;
        in
        concatMap collect (known.imports or [ ])
        ++ [
          {
            key = known.key or null;
            options = known.options or { };
            config = if wrapped then known.config or { } else removeAttrs known [ "imports" ];
          }
        ];
      # a module with a key counts once
      every = foldl' (
        kept: module:
        if module.key != null && builtins.any (one: one.key == module.key) kept then kept else kept ++ [ module ]
      ) [ ] (concatMap collect modules);
      merged =
        left: right:
        left
        // mapAttrs (
          name: value:
          if !(left ? ${name}) then
            value
          else if isType "option" value then
            throw "The option `${name}' is already declared"
          else
            merged left.${name} value
        ) right;
      options = foldl' merged { } (map (module: module.options) every);
      said = concatMap (module: spread module.config) every;
      definitions = map (config: removeAttrs config [ "_module" ]) said;
      lax = builtins.any (config: (config._module.check or true) == false) said;

      build =
        loc: tree: values:
        mapAttrs (
          name: option:
          let
            raw = into values name;
            here = concatMap discharge raw;
            place = loc ++ [ name ];
            unset = throw "The option `${concatStringsSep "." place}' is used but not defined.";
            said = if here == [ ] then [ (option.default or unset) ] else strongest here;
          in
          if isType "option" option then
            (option.apply or (value: value)) (option.type.merge place said)
          else
            build place option (concatMap spread raw)
        ) tree;
      config = build [ ] options definitions;

      unknown =
        loc: tree: values:
        concatMap (
          name:
          let
            place = loc ++ [ name ];
          in
          if !(tree ? ${name}) then
            [ (concatStringsSep "." place) ]
          else if isType "option" tree.${name} then
            [ ]
          else
            unknown place tree.${name} (concatMap spread (into values name))
        ) (names values);
      strangers = unknown [ ] options definitions;
      checked = if lax || strangers == [ ] then true else throw "The option `${head strangers}' does not exist.";
    in
    {
      config = seq checked config;
      inherit options;
    };

  lib = {
    inherit types evalModules;
    inherit (builtins) attrNames concatMap filter;
    mkOption = option: option // { _type = "option"; };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOverride = priority: content: {
      _type = "override";
      inherit priority content;
    };
    mkDefault = lib.mkOverride 1000;
    mkForce = lib.mkOverride 50;
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    literalMD = text: {
      _type = "literalMD";
      inherit text;
    };
    optionalAttrs = condition: set: if condition then set else { };
    filterAttrs = keep: set: removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
    removeSuffix =
      end: text:
      let
        rest = builtins.stringLength text - builtins.stringLength end;
      in
      if rest >= 0 && builtins.substring rest (-1) text == end then builtins.substring 0 rest text else text;
    genAttrs = list: f: listToAttrs (map (name: { inherit name; value = f name; }) list);
    mapAttrsToList = f: set: attrValues (mapAttrs f set);
    makeBinPath = list: concatStringsSep ":" (map (one: "${one}/bin") list);
    cleanSource = src: src;
    licenses.mit.spdxId = "MIT";
    platforms.unix = [ "unix" ];
  };
in
lib
