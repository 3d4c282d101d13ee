# In the style of nixpkgs: callPackage ./package.nix { }
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
  # the one place that says the version is the Python package
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

  # the project's tests drive sshd, tmux, age and a memory file system: they are run
  # by `make test`; here it is enough that the program starts
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
    description = "One recipient map that drives agenix and sops for a NixOS fleet";
    mainProgram = "nixsecrets";
    license = lib.licenses.mit;
    platforms = lib.platforms.unix;
  };
}
