"""`make fuzz`: coverage-guided fuzzing of one target after the other, with atheris.

    python -m tests.fuzz [--seconds N] [TARGET …]

Every target runs in a process of its own.  A crash, an assertion or an input that
takes longer than five seconds ends the run with an error; the input is left in
`.fuzz/TARGET/`, where the corpus grows, too.
"""

import argparse
import subprocess
import sys
from pathlib import Path

CORPUS = Path(".fuzz")


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process; atheris ends the process."""
    import atheris

    with atheris.instrument_imports(include=["nixsecrets"]):
        from tests.fuzz.targets import TARGETS, seeds, write_seeds

        for seed in (b"", *seeds(name)):  # some modules are imported by the first call
            TARGETS[name](seed)
    folder = CORPUS / name
    write_seeds(name, folder / "corpus")
    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        "-max_len=16384",
        "-timeout=5",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
        str(folder / "corpus"),
    ]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    """Run every target that was asked for; return 1 if one found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, if none")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:  # before anything is imported: what is, is not instrumented any more
        fuzz(chosen.one, chosen.seconds)
    from tests.fuzz.targets import TARGETS

    if unknown := set(chosen.targets) - set(TARGETS):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(TARGETS)}")
    failed = []
    for name in chosen.targets or TARGETS:
        print(f"── {name}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--one", name]
        command.append(f"--seconds={chosen.seconds}")
        if subprocess.run(command, check=False).returncode != 0:
            failed.append(name)
    print("found something: " + ", ".join(failed) if failed else "found nothing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
