"""`python -m benchmarks.scan`: a scan of many hosts against `ssh-keyscan`.

Real sshds on loopback, fifteen addresses to each, behind a relay that holds every
packet back as a network does.  Both programs ask for the same keys in one run;
`ssh-keyscan` goes through the key exchanges one after the other and verifies no
signature.  Prints a table, and JSON with `--json FILE`.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import fleet as kit

_PER_SERVER = 15  # sshd listens on 16 addresses, one of them for the start
_CHUNK = 1 << 16


@contextlib.contextmanager
def servers(base: Path, hosts: int, key: kit.SshKey) -> Iterator[tuple[list[str], int]]:
    """Run sshds on `hosts` loopback addresses; yield these and the port of all."""
    addresses = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(hosts)]
    port = kit.free_port()
    with contextlib.ExitStack() as stack:
        for at in range(0, hosts, _PER_SERVER):
            some = addresses[at : at + _PER_SERVER]
            options = [f"ListenAddress {address}:{port}" for address in some]
            folder = base / f"sshd-{at}"
            stack.enter_context(kit.start_sshd(folder, key, options=options))
        yield addresses, port


async def _pump(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float
) -> None:
    """Pass data on, each piece `delay` seconds later, none waiting for another."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            loop.call_later(delay, target.write, data)
    loop.call_later(delay, target.close)


def _relay(addresses: list[str], port: int, target: int, delay: float) -> None:
    """Listen on `port` of each address; carry everything to `target` there, late."""

    async def serve(address: str) -> None:
        async def carry(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await asyncio.sleep(delay)
            far_reader, far_writer = await asyncio.open_connection(address, target)
            await asyncio.gather(
                _pump(reader, far_writer, delay), _pump(far_reader, writer, delay)
            )

        await asyncio.start_server(carry, address, port)

    async def forever() -> None:
        for address in addresses:
            await serve(address)
        await asyncio.Event().wait()

    asyncio.run(forever())


@contextlib.contextmanager
def relay(addresses: list[str], target: int, delay: float) -> Iterator[int]:
    """Run the relay in a process of its own; yield the port to use."""
    port = kit.free_port()
    process = multiprocessing.Process(
        target=_relay, args=(addresses, port, target, delay), daemon=True
    )
    process.start()
    try:
        time.sleep(1)
        yield port
    finally:
        process.terminate()
        process.join()


def repository(base: Path, addresses: list[str], port: int, key: kit.SshKey) -> Path:
    """Write a map in which each address is a host; all but one have other keys."""
    root = kit.git_repo(base / f"repo-{port}", kit.clean_env(base))
    lines = ["version = 1", ""]
    for number, address in enumerate(addresses):
        public = key.public if number == 0 else kit.ssh_key(f"host {number}").public
        lines += [f"[hosts.h{number}]", f'keys = ["{public}"]']
        lines += [f'address = "{address}:{port}"', ""]
    (root / "nixsecrets.toml").write_text("\n".join(lines))
    return root


def timed(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[float, bytes]:
    """Run a program; return the seconds it took and what it printed."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=False)
    return time.perf_counter() - started, done.stdout


def measure(base: Path, hosts: int, delay: float) -> dict[str, float]:
    """Return the seconds of both programs for `hosts` hosts, `delay` s away."""
    key = kit.ssh_key("benchmark")
    env = kit.clean_env(base) | {"PYTHONPATH": str(kit.PROJECT)}
    with contextlib.ExitStack() as stack:
        addresses, port = stack.enter_context(servers(base / "sshd", hosts, key))
        if delay:
            port = stack.enter_context(relay(addresses, port, delay))
        root = repository(base, addresses, port, key)
        listed = base / "hosts"
        listed.write_text("\n".join(addresses) + "\n")
        keyscan = ["ssh-keyscan", "-t", "ed25519", "-p", str(port), "-f", str(listed)]
        theirs, found = timed(keyscan, base, env)
        scan = [sys.executable, "-m", "nixsecrets", "scan", "--json"]
        ours, report = timed(scan, root, env)
    keys = {host["found"] for host in json.loads(report)["hosts"]}
    if keys != {key.fingerprint} or found.count(b"ssh-ed25519") != hosts:
        raise SystemExit("not every host was scanned: the figures mean nothing")
    return {"delay": delay, "ours": ours, "theirs": theirs, "ratio": ours / theirs}


def main() -> None:
    """Measure on loopback, and with a network's delay; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print(f"{options.hosts} hosts      nixsecrets scan   ssh-keyscan   ratio")
    for milliseconds in (0, 5, 20):
        with tempfile.TemporaryDirectory() as folder:
            row = measure(Path(folder), options.hosts, milliseconds / 1000)
        rows.append(row)
        print(
            f"{2 * milliseconds:3d} ms away    {row['ours']:10.2f} s"
            f"   {row['theirs']:12.2f} s   {row['ratio']:5.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
