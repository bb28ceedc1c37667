"""`aws` and `loglineos` for a shell that calls them many times: imported once, each call is a fork.

Run with a socket's path it serves; `PROGRAM` is what stands on the PATH, and hands a call over with its files.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

PROGRAM = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as there:
    there.connect({address!r})
    call = {{"words": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "folder": os.getcwd(), "environment": dict(os.environ)}}
    socket.send_fds(there, [b"!"], [0, 1, 2])
    there.sendall(json.dumps(call).encode() + b"\\n")
    sys.exit(int(there.recv(8) or 1))
"""  # noqa: E501


def serve(address: str) -> None:
    """Answer calls until killed."""
    import awscli.clidriver  # type: ignore[import-untyped]

    import loglineos.cli

    for module, _, _ in (command.partition(":") for command in loglineos.cli.COMMANDS.values()):
        import_module(f"loglineos.{module}")
    programs = {"aws": awscli.clidriver.main, "loglineos": loglineos.cli.main}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        while True:
            there, _ = listening.accept()
            _, files, _, _ = socket.recv_fds(there, 1, 3)
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                with there.makefile("rb") as lines:
                    call = json.loads(lines.readline())
                there.sendall(str(_run(programs[call["words"][0]], call, files)).encode())
                os._exit(0)
            for file in (*files, there.detach()):
                os.close(file)


def _run(main: object, call: dict[str, object], files: list[int]) -> int:
    """One call, in the fork; its exit code."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(str(call["folder"]))
    installed = os.environ["AWS_DATA_PATH"]  # which awscli sets when it is imported
    os.environ.clear()
    os.environ.update(call["environment"], AWS_DATA_PATH=installed)  # type: ignore[call-overload]
    sys.argv = list(call["words"])  # type: ignore[call-overload]
    try:
        code = main()  # type: ignore[operator]
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def start(folder: Path, path: str) -> subprocess.Popen[bytes]:
    """Serve from `folder`, where the programs then are. `path` is the server's PYTHONPATH."""
    folder.mkdir()
    address = str(folder / "socket")
    for name in ("aws", "loglineos"):
        program = folder / name
        program.write_text(PROGRAM.format(python=sys.executable, address=address))
        program.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, address], env={**os.environ, "PYTHONPATH": path})
    for _ in range(600):
        if (folder / "socket").exists() or server.poll() is not None:
            break
        time.sleep(0.05)
    return server


if __name__ == "__main__":
    serve(sys.argv[1])
