"""The emulator's process. Started by `emulator.py`; everything it needs to know is in its directory."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from loglineos.local.postgres import LocalPostgres

from .addresses import ACCESS_KEY, HOST, SECRET_KEY
from .files import Files, Info

if TYPE_CHECKING:
    from .emulator import Endpoint
    from .functions.invoke import Invoker
    from .functions.pool import Pool
    from .kept.store import Store

SUPERUSER = "rdsadmin"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="loglineos.aws.daemon")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--postgres", type=Path, required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--clock", action="store_true")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    files = Files(given.directory)
    with files.held() as mine:
        if not mine:
            logging.error("another emulator serves %s", given.directory)
            return 1
        return _run(files, given.postgres, given.region, clock=given.clock)


def _run(files: Files, postgres: Path, region: str, *, clock: bool) -> int:
    port, api_port = map(_free_port, files.last_ports())
    # moto reads these when it is imported.
    os.environ["MOTO_PORT"] = str(port)
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"  # the bootstrap attaches ReadOnlyAccess
    from .clock import start_clock
    from .cloudformation.custom import Mailbox
    from .emulator import Endpoint
    from .functions.pool import Pool
    from .gateway.front import Front
    from .gateway.server import serve_api
    from .kept.store import Store
    from .server import serve

    where = Endpoint(f"http://{HOST}:{port}", f"http://{HOST}:{api_port}", region)
    pool = Pool(files.directory / "functions", _function_environment(where.url))
    store = Store(files.directory / "kept")
    invoker = _install(LocalPostgres(postgres), pool, files, where, store)
    http, api = serve(port, Mailbox()), serve_api(api_port, Front(invoker, region))
    threading.Thread(target=api.serve_forever, args=(0.1,), name="api", daemon=True).start()

    def stop(*_: object) -> None:
        # From another thread: shutdown waits for the loop which this signal has interrupted.
        threading.Thread(target=http.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    files.write(Info(os.getpid(), port, api_port, region))
    logging.info("serving %s, and the deployed HTTP API at %s", where.url, where.api_url)
    if clock:
        start_clock(where)
    try:
        http.serve_forever(poll_interval=0.1)
    finally:
        api.shutdown()
        pool.close()
        store.close()
        files.forget()
        logging.info("stopped")
    return 0


def _install(local: LocalPostgres, pool: Pool, files: Files, where: Endpoint, store: Store) -> Invoker:
    """Put what is ours in moto's place."""
    from . import additions, corrections
    from .functions.invoke import Invoker
    from .functions.invoke import install as install_functions
    from .gateway.front import install as install_gateway
    from .kept import objects, secrets
    from .rds.databases import Databases
    from .rds.instances import Instances
    from .rds.instances import install as install_instances

    server = local.start()
    databases = Databases(server.host, server.port, server.url(SUPERUSER, "postgres"), local.set_password)
    invoker = Invoker(pool, files.directory / "functions", where.url)
    corrections.install()
    additions.install()
    install_functions(invoker)
    install_gateway(where.api_url)
    install_instances(Instances(databases))
    objects.install(store)
    secrets.install(store, where.region)
    return invoker


def _function_environment(url: str) -> dict[str, str]:
    """What makes a function's AWS clients find the emulator and nothing else."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_SESSION_TOKEN": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _free_port(wanted: int | None) -> int:
    """The port of last time, so that addresses which somebody noted stay true; or any other."""
    for port in (wanted, 0):
        if port is not None:
            with contextlib.suppress(OSError), socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")


if __name__ == "__main__":
    sys.exit(main())
