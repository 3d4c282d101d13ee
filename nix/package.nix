# nixpkgs style: callPackage ./package.nix { }
{
  lib,
  python3Packages,
  installShellFiles,
  git,
  openssh,
  sops,
  src ? lib.cleanSource ../.,
}:

let
  # the Python package is the only place that states the version
  source = builtins.readFile ../nixsecrets/__init__.py;
  version = builtins.head (builtins.match ".*__version__ = \"([^\"]+)\".*" source);
in
python3Packages.buildPythonApplication {
  pname = "nixsecrets";
  inherit version src;
  pyproject = true;

  build-system = [ python3Packages.hatchling ];

  dependencies = with python3Packages; [
    click
    cryptography
    google-re2
    paramiko
    pynacl
    pyrage
    rich
    ruamel-yaml
  ];

  nativeBuildInputs = [ installShellFiles ];

  # the tests need sshd, tmux, age and a memory file system and run in `make test`;
  # the build only checks that the program starts
  doCheck = false;
  pythonImportsCheck = [ "nixsecrets.cli.main" ];

  makeWrapperArgs = [
    "--prefix"
    "PATH"
    ":"
    (lib.makeBinPath [
      git
      openssh
      sops
    ])
  ];

  postInstall = ''
    for shell in bash zsh fish; do
      PYTHONPATH=$out/${python3Packages.python.sitePackages}:$PYTHONPATH \
        ${python3Packages.python.interpreter} -m nixsecrets completion $shell > nixsecrets.$shell
    done
    installShellCompletion --cmd nixsecrets --bash nixsecrets.bash --zsh nixsecrets.zsh --fish nixsecrets.fish
    PYTHONPATH=$out/${python3Packages.python.sitePackages}:$PYTHONPATH \
      ${python3Packages.python.interpreter} -m nixsecrets.cli.manpages man
    installManPage man/*.1
  '';

  meta = {
    description = "Manage the secrets of a NixOS fleet: one recipient map for agenix and sops";
    mainProgram = "nixsecrets";
    license = lib.licenses.mit;
    platforms = lib.platforms.unix;
  };
}
