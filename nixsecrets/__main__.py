"""`python -m nixsecrets`."""

from nixsecrets.cli.main import run

if __name__ == "__main__":
    run()
