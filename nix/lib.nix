# A fleet as a flake can see it, from the files that nixsecrets writes. Builtins only.
#
#   fleet = nixsecrets.lib.fleet ./.;          # the folder of nixsecrets.toml
#   programs.ssh.knownHosts = fleet.knownHosts;
#   users.users.root.openssh.authorizedKeys.keys = fleet.authorizedKeys "admins";
#   age.secrets = fleet.ageSecretsFor "brunnen";
#
# The recipients of an age file come from the lock, and count only while the file has the
# hash recorded there; those of a sops file come from its text. Paths are never
# interpolated, because that would copy them to the store a second time.
#
# The folder and the declared files may be paths, strings (`"${self}/x.age"`) or flake
# inputs: `textOf` is what they are compared by.
rec {
  fleet =
    given:
    let
      inherit (builtins)
        attrNames
        concatLists
        concatMap
        elem
        elemAt
        filter
        fromJSON
        fromTOML
        genList
        hashFile
        hashString
        head
        isAttrs
        isPath
        isString
        length
        listToAttrs
        map
        match
        pathExists
        readDir
        readFile
        split
        stringLength
        substring
        ;

      root = placeOf given;
      placeOf = value: if isAttrs value then value.outPath else value;
      at = path: root + "/${path}";
      # A path in normal form, as text without string context: Nix allows no context in
      # attribute names, nor in what is appended to a path.
      textOf = value: toString (/. + builtins.unsafeDiscardStringContext (toString value));
      lines = text: filter (line: isString line && line != "") (split "[\r\n]+" text);
      hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
      contains = part: text: builtins.replaceStrings [ part ] [ "" ] text != text; # no regex: fast
      unique = list: attrNames (listToAttrs (map (name: { inherit name; value = null; }) list));

      theMap =
        if pathExists (at "nixsecrets.toml") then
          fromTOML (readFile (at "nixsecrets.toml"))
        else
          throw "nixsecrets: ${textOf root} has no nixsecrets.toml; run `nixsecrets init` there, then git add nixsecrets.toml";

      # --- names and keys

      # strip the comment of an ssh key
      keyOf =
        text:
        let
          words = filter (word: isString word && word != "") (split "[ \t]+" text);
        in
        if length words > 1 && isSsh text then "${head words} ${elemAt words 1}" else head words;
      hosts = builtins.mapAttrs (_: keysOf) (theMap.hosts or { });
      users = builtins.mapAttrs (_: keysOf) (theMap.users or { });
      keysOf = owner: map keyOf owner.keys;
      owners = hosts // users;

      joined = group: filter (name: elem group ((theMap.hosts.${name} or theMap.users.${name}).groups or [ ])) (
        attrNames owners
      );
      # A group's hosts and users. nixsecrets rejects cycles; `seen` keeps one from hanging
      # the evaluation anyway.
      membersOf =
        seen: name:
        if owners ? ${name} then
          [ name ]
        else if elem name seen then
          [ ]
        else
          concatMap (membersOf (seen ++ [ name ])) ((theMap.groups.${name} or [ ]) ++ joined name);
      known = name: owners ? ${name} || (theMap.groups or { }) ? ${name} || joined name != [ ];
      members =
        name:
        if known name then
          unique (membersOf [ ] name)
        else
          throw "nixsecrets: nixsecrets.toml has no host, user or group ${name}";
      isSsh = hasPrefix "ssh-";

      # --- the lock

      lockText = if pathExists (at "nixsecrets.lock") then readFile (at "nixsecrets.lock") else "";
      # skip conflict markers and other leftovers of a merge, and kinds that only nixsecrets uses
      readable =
        line:
        substring (stringLength line - 1) 1 line == "}"
        && builtins.any (kind: hasPrefix "{\"${kind}\":" line) [
          "nixsecrets"
          "recipient"
          "set"
          "file"
        ];
      entries = map fromJSON (filter readable (lines lockText));
      recipients = filter (entry: entry ? recipient) entries;
      # version 1 of the lock: a file refers to a set of recipients
      sets = listToAttrs (
        map (entry: { name = entry.set; value = entry.recipients; }) (filter (entry: entry ? set) entries)
      );
      idsOf = record: record.recipients or sets.${record.set} or [ ];
      idOf = key: substring 0 16 (hashString "sha256" key);
      records =
        if builtins.any (entry: (entry.nixsecrets or 0) > 2) entries then
          throw "nixsecrets: nixsecrets.lock was written by a newer nixsecrets; upgrade it: nix flake update nixsecrets"
        else
          filter (entry: entry ? file) entries;
      recordsOf = builtins.groupBy (entry: entry.file) records;

      # --- X25519 forms of ssh keys, from the lock and .sops.yaml

      converted = listToAttrs (
        map (entry: { name = entry.key; value = entry.age; }) (
          filter (entry: entry ? age) recipients
        )
      );
      anchors =
        let
          config = (theMap.sops or { }).config or null;
          text = if config != null && pathExists (at config) then readFile (at config) else "";
          found = map (match "[ ]*-[ ]+&([A-Za-z0-9_-]+)[ ]+(age1[0-9a-z]+).*") (lines text);
        in
        listToAttrs (
          map (one: { name = elemAt one 0; value = elemAt one 1; }) (filter (one: one != null) found)
        );
      anchorOf =
        name: number:
        builtins.concatStringsSep "_" (filter isString (split "[^A-Za-z0-9_-]" name))
        + (if number == 0 then "" else "-${toString (number + 1)}");
      # The recipients with which sops-nix opens a file for `name`, without keys whose
      # X25519 form is recorded nowhere.
      sopsKeysOf =
        name:
        let
          keys = owners.${name} or [ ];
          form =
            number:
            let
              key = elemAt keys number;
            in
            if !isSsh key then
              [ key ]
            else if converted ? ${key} then
              [ converted.${key} ]
            else
              let
                anchor = anchorOf name number;
              in
              if anchors ? ${anchor} then [ anchors.${anchor} ] else [ ];
        in
        concatLists (genList form (length keys));

      # --- files

      ageFiles = filter (path: pathExists (at path)) (attrNames recordsOf);
      recordOf =
        path:
        let
          fits = filter (entry: entry.sha256 == hashFile "sha256" (at path)) recordsOf.${path};
        in
        if fits == [ ] then null else head fits;
      readBy = name: record: builtins.any (key: elem (idOf key) (idsOf record)) (owners.${name} or [ ]);
      ageFilesFor =
        name:
        filter (
          path:
          let
            record = recordOf path;
          in
          record != null && readBy name record
        ) ageFiles;

      # a NUL byte aborts the evaluation, so read only files whose name suggests text
      textual = path: match ".*\\.(yaml|yml|json|env|ini)" path != null;
      filesBelow =
        wanted: folder:
        let
          inside = readDir (if folder == "" then root else at folder);
          path = name: if folder == "" then name else "${folder}/${name}";
          foreign = folder != "" && inside ? "nixsecrets.toml"; # has a map of its own
          visit =
            name:
            if inside.${name} == "directory" && name != ".git" then
              filesBelow wanted (path name)
            else if inside.${name} == "regular" && wanted name then
              [ (path name) ]
            else
              [ ];
        in
        if foreign then [ ] else concatMap visit (attrNames inside);
      isSops = text: contains "lastmodified" text && contains "ENC[" text;
      sopsFiles = filter (path: isSops (readFile (at path))) (filesBelow textual "");
      sopsReadBy = name: text: builtins.any (key: contains key text) (sopsKeysOf name);
      # A name in no rule for sops files may have no recorded X25519 form. If every recipient
      # of a file is known to belong to others, the name cannot read it.
      sopsOfOthers =
        name: text:
        let
          found = concatLists (filter builtins.isList (split "(age1[0-9a-z]{58})" text));
          others = concatMap sopsKeysOf (filter (other: other != name) (attrNames owners));
        in
        found != [ ] && builtins.all (key: elem key others) found;
      # A machine may use a key service or PGP, which the map does not know, or pass its ssh
      # key to sops.
      byOtherMeans =
        sops: name: text:
        let
          pgp = (sops.gnupg.home or null) != null || (sops.gnupg.sshKeyPaths or [ ]) != [ ];
          ssh = (sops.environment or { }) ? SOPS_AGE_SSH_PRIVATE_KEY_FILE;
          words = [
            "arn:aws"
            "resource_id"
            "vault_address"
            "vault_url"
          ] ++ (if pgp then [ "BEGIN PGP" ] else [ ]) ++ (if ssh then owners.${name} else [ ]);
        in
        builtins.any (word: contains word text) words;
      sopsFilesFor = name: filter (path: sopsReadBy name (readFile (at path))) sopsFiles;
      canRead =
        name: path:
        if recordsOf ? ${path} then elem path (ageFilesFor name) else sopsReadBy name (readFile (at path));

      baseName =
        path:
        let
          base = baseNameOf path;
          found = match "(.*)\\.age" base;
        in
        if found == null then base else head found;
      longName =
        path:
        let
          found = match "(.*)\\.age" path;
        in
        builtins.replaceStrings [ "/" ] [ "-" ] (if found == null then path else head found);
      ageSecretsFor =
        name:
        let
          paths = ageFilesFor name;
          byName = builtins.groupBy baseName paths;
          nameOf = path: if length byName.${baseName path} == 1 then baseName path else longName path;
        in
        listToAttrs (map (path: { name = nameOf path; value.file = at path; }) paths);

      # --- a secret that a configuration declares by its name

      # as sops itself takes the format from the name
      formatOf =
        path:
        let
          found = match ".*\\.(yaml|yml|json|env|ini)" path;
          formats = {
            yml = "yaml";
            env = "dotenv";
          };
        in
        if found == null then "binary" else formats.${head found} or (head found);
      isAge = path: recordsOf ? ${path} || match ".*\\.age" path != null;
      withoutEnd =
        path:
        let
          found = match "(.*)\\.(age|yaml|yml|json|env|ini|bin)" path;
        in
        if found == null then path else head found;
      # The keys that sops-nix reaches: of YAML on any level, of JSON on the first.
      keysIn =
        path: text:
        if formatOf path == "json" then
          attrNames (removeAttrs (fromJSON text) [ "sops" ])
        else
          (builtins.foldl' yamlKey {
            above = [ ];
            found = [ ];
          } (map (substring 0 400) (lines text))).found;
      # sops writes one line for each value, so the indentation tells what a key is below.
      yamlKey =
        { above, found }@before:
        line:
        let
          parts = match "( *)(\"([^\"]*)\"|'([^']*)'|([^] #\"'&*![{}-][^:]*)):( .*)?" line;
          name = head (filter isString (map (elemAt parts) [ 2 3 4 ]));
          depth = stringLength (head parts);
          parents = filter (one: one.depth < depth) above;
          whole = builtins.concatStringsSep "/" (map (one: one.name) parents ++ [ name ]);
        in
        if parts == null then
          before
        else
          {
            above = parents ++ [ { inherit depth name; } ];
            found = if (head (parents ++ [ { inherit name; } ])).name == "sops" then found else found ++ [ whole ];
          };
      isKeyed = path: elem (formatOf path) [ "yaml" "json" ];
      # the files that have a key; only those with its last part, quoted or not, are parsed
      withKey =
        key:
        let
          ends = map (end: baseNameOf key + end) [ ":" "\":" "':" ];
        in
        concatMap (
          path:
          let
            text = readFile (at path);
          in
          if isKeyed path && builtins.any (end: contains end text) ends && elem key (keysIn path text) then
            [ { inherit key path; } ]
          else
            [ ]
        );
      # Files that are one secret as a whole, by the names that a declaration may use.
      filesByName = builtins.groupBy (one: one.name) (
        concatMap (
          path:
          map (name: { inherit name path; key = ""; }) (unique [
            path
            (withoutEnd path)
            (withoutEnd (baseNameOf path))
          ])
        ) (ageFiles ++ filter (path: !isKeyed path) sopsFiles)
      );
      # Where the secret that `name` declares as `secret` is: `{ backend; file; format; key; }`,
      # or `{ problem; }`, a sentence. `want` has the `file` and `key` of the declaration,
      # which may be null. Of several files the one that `name` can read is meant.
      # Apply it to `name` once, so that the files that `name` can read are listed once.
      locate =
        name:
        let
          own = sopsFilesFor name;
        in
        secret: want:
        let
          option = "nixsecrets.secrets.${secret}";
          key = if want.key == null then secret else want.key;
          path = relative want.file;
          keyed = withKey key own;
          candidates = (filesByName.${secret} or [ ]) ++ (if keyed == [ ] then withKey key sopsFiles else keyed);
          readable = filter (one: canRead name one.path) candidates;
          meant = if length candidates > 1 && readable != [ ] then readable else candidates;
          listed = builtins.concatStringsSep ", " (map (one: one.path) meant);
          described =
            path: file: wholeKey:
            if isAge path then
              {
                backend = "age";
                inherit file path;
              }
            else
              rec {
                backend = "sops";
                inherit file path;
                format = formatOf path;
                key = if isKeyed path then wholeKey else "";
              };
        in
        if want.file != null then
          described (if path == null then baseNameOf (textOf want.file) else path) want.file key
        else if length meant > 1 then
          { problem = "${option} may mean ${listed}; set ${option}.file"; }
        else if meant == [ ] then
          builtins.seq theMap {
            problem =
              "${option}: no secret of the map is called ${secret};"
              + " create it (nixsecrets edit secrets/${secret}.age, git add), or set ${option}.file";
          }
        else
          let
            one = head meant;
          in
          described one.path (at one.path) one.key;

      # --- where a declared file is

      # The path relative to `root`, by its place or, for a copy in the store
      # (`"${./x.age}"`), by its content; null for a file that is not in the repository.
      relative =
        file:
        let
          place = placeBelow file;
        in
        if place != null && (recordsOf ? ${place} || textual place || !pathExists file) then
          place
        else if pathExists file && !isStoredLink file then
          pathsByContent.${hashFile "sha256" file} or place # behind a link, or a copy
        else
          null;
      # A copy in the store that is a link alone: it leads nowhere.
      isStoredLink = file: dirOf (textOf file) == builtins.storeDir && isLink file;
      placeBelow =
        file:
        let
          text = textOf file;
          prefix = textOf root + "/";
        in
        if hasPrefix prefix text then substring (stringLength prefix) (stringLength text) text else null;
      pathsByContent = listToAttrs (
        map (path: { name = hashFile "sha256" (at path); value = path; }) (
          ageFiles ++ filesBelow likelySecret ""
        )
      );
      likelySecret = path: match "[^.]*|.*\\.(age|yaml|yml|json|env|ini|bin|conf|crt|enc|gpg|key|pem|sops|txt)" (baseNameOf path) != null;
      isLink =
        file:
        if dirOf (textOf file) == builtins.storeDir then
          builtins ? readFileType && builtins.readFileType file == "symlink"
        else
          (readDir (dirOf file)).${baseNameOf (textOf file)} == "symlink";
      # Looking for the result of a derivation would build it.
      isBuilt =
        file: builtins.any (source: source ? outputs) (builtins.attrValues (builtins.getContext (toString file)));

      # --- problems of a declared secret: null, or the message and command of `check`

      word =
        path:
        if match "[A-Za-z0-9_@%+=:,./-]+" path != null then
          path
        else
          "'${builtins.replaceStrings [ "'" ] [ "'\"'\"'" ] path}'";
      inCopy = text: elemAt (match "[^/]*/?(.*)" (substring (stringLength builtins.storeDir + 1) (stringLength text) text)) 0;
      problem = message: fix: { inherit message fix; };
      notThere =
        path:
        problem "it does not exist, or git does not track it" "git add ${word path}";
      noReader =
        name: path:
        problem "${who name} is not a recipient" "nixsecrets why ${word path}";
      unrecorded =
        path:
        problem "its recipients are unknown: nixsecrets.lock does not record its recipients" "nixsecrets rekey ${word path}";
      who = name: "${if users ? ${name} then "user" else "host"} ${name}";

      # `path` is that of the file in the repository
      ageProblem =
        name: path: file:
        if !(recordsOf ? ${path}) && textual path && isSops (readFile file) then
          problem "it is a sops file" ""
        else if !(recordsOf ? ${path}) || recordOf path == null then
          unrecorded path
        else if readBy name (recordOf path) then
          null
        else
          noReader name path;

      sopsProblem =
        sops: name: path: file:
        let
          text = readFile file;
        in
        if recordsOf ? ${path} then
          problem "it is an age file" ""
        else if !isSops text then
          problem "it is not encrypted" "nixsecrets set ${word path} --from-file ${word path} --git-add"
        else if sopsReadBy name text || byOtherMeans sops name text then
          null
        else if sopsKeysOf name == [ ] && !sopsOfOthers name text then
          null # no recorded X25519 form: `nixsecrets check` converts the key
        else
          noReader name path;

      sentence =
        name: option: path: found:
        "${path}: ${name} declares ${option}: ${found.message}"
        + (if found.fix == "" then "" else "; run `${found.fix}`");
      judge =
        name: option: problemOf: declared:
        let
          file = placeOf declared;
          path = relative file;
          place = placeBelow file;
          inStore = hasPrefix "${builtins.storeDir}/" (textOf file);
          found = problemOf name path file;
          say = sentence name option;
        in
        if isBuilt file then
          null
        else if pathExists file && isLink file && (isPath file || isStoredLink file) then
          say (if place == null then "flake.nix" else place) (
            problem "it is a symbolic link, which Nix stores without its target: name the file that it points to" ""
          )
        else if !pathExists file then
          if place != null then
            say place (notThere place)
          else if inStore then
            say "flake.nix" (problem "the copy of its folder in the store has no ${inCopy (textOf file)}: name the file itself, or let the source filter include it" "")
          else
            null # a file of the machine
        else if path == null || found == null then
          null
        else
          say path found;

      # How to grant `name` what `nixsecrets.secrets.SECRET` declares (`located`, of `locate`),
      # null if it can read it; `sops` are the options of sops-nix.
      grantOf =
        sops: name: secret: located:
        let
          inherit (located) path file;
          problemOf = if located.backend == "age" then ageProblem else sopsProblem sops;
        in
        if !pathExists file || relative file != path || problemOf name path file != noReader name path then
          null
        else
          "nixsecrets.secrets.${secret}: to let ${who name} read it, add \"${name}\" to the readers of"
          + " ${path} in nixsecrets.toml, and run `nixsecrets rekey ${word path}`";

      # Problems of a configuration that will have the keys of `name`; `config` has the `age`
      # and `sops` options as the agenix and sops-nix modules set them.
      problemsOf =
        name: config:
        let
          kind = if (config.home or { }) ? username then "user" else "host";
          age = (config.age or { }).secrets or { };
          sops = (config.sops or { }).secrets or { };
          each =
            option: problemOf: fileOf: secrets:
            map (secret: judge name "${option}.${secret}" problemOf (fileOf secrets.${secret})) (attrNames secrets);
          found =
            each "age.secrets" ageProblem (secret: secret.file) age
            ++ each "sops.secrets" (sopsProblem (config.sops or { })) (secret: secret.sopsFile) sops;
        in
        if age == { } && sops == { } then
          [ ]
        else if owners ? ${name} then
          filter (one: one != null) found
        else
          [
            "nixsecrets.toml: ${name} declares secrets, and the map has no ${kind} ${name}; run `nixsecrets add-${kind} ${word name}`"
          ];
    in
    {
      inherit
        hosts
        users
        members
        ageSecretsFor
        grantOf
        locate
        problemsOf
        ;

      # the map as parsed TOML
      map = theMap;

      # name -> { hostNames; publicKey; }: ready for programs.ssh.knownHosts
      knownHosts = builtins.mapAttrs (
        name: host:
        let
          keys = filter isSsh hosts.${name};
          address = host.address or name;
          # known_hosts needs a plain name; drop the user and port of `user@name:port`
          found = match "([^@]*@)?([A-Za-z0-9._-]+|\\[?[0-9a-fA-F:]+]?)(:[0-9]+)?" address;
          bare = if found == null then address else elemAt found 1;
        in
        {
          hostNames = unique [
            name
            bare
          ];
          publicKey = head keys;
        }
      ) (removeAttrs (theMap.hosts or { }) (filter (name: filter isSsh hosts.${name} == [ ]) (attrNames hosts)));

      # the ssh keys of a user, or of the users of a group
      authorizedKeys =
        name: filter isSsh (concatMap (member: users.${member} or [ ]) (members name));

      # every secret of the map that a host or user can read now
      filesFor = name: builtins.sort builtins.lessThan (ageFilesFor name ++ sopsFilesFor name);
    };

  # A derivation that fails if `nixsecrets check` fails, for a flake's `checks`.
  checkWith =
    {
      pkgs,
      package,
      root,
    }:
    pkgs.runCommand "nixsecrets-check" { nativeBuildInputs = [ package ]; } ''
      nixsecrets -C ${root} check
      touch $out
    '';
}
