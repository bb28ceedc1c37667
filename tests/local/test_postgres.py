"""The embedded PostgreSQL, tried for real: as root with its data elsewhere, or as whoever runs the tests."""

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from loglineos.local import binaries, home
from loglineos.local.account import Account, command_line
from loglineos.local.postgres import LocalPostgres, LocalPostgresError, Server

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root's server runs as another user")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="loglineos "))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """A server that stays up. Its parent is 0700: for root, the server's user cannot reach it."""
    local = LocalPostgres(tmp_path_factory.mktemp("shared") / "postgres", durable=False)
    local.start()
    yield local
    local.remove()


@pytest.fixture(scope="module")
def module_own(folder: Path) -> Iterator[LocalPostgres]:
    local = LocalPostgres(folder / "own", durable=False)
    local.start()
    yield local
    local.remove()


@pytest.fixture
def own(module_own: LocalPostgres) -> LocalPostgres:
    """A server that a test may stop, kill and start. Its data are in its directory itself."""
    module_own.start()
    return module_own


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalPostgres]:
    """A directory in which nothing was ever started."""
    local = LocalPostgres(tmp_path / "fresh", durable=False)
    yield local
    local.remove()


def ask(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def tell(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def server_of(local: LocalPostgres) -> Server:
    server = local.running()
    assert server is not None
    return server


def crash(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)
    while "postgres" in command_line(server.pid):
        time.sleep(0.01)


def passwords_of(server: Server) -> Path:
    """Beside the link to the data, where there is one."""
    return server._passwords._path


def log_of(server: Server) -> Path:
    return passwords_of(server).with_name("postgres.log")


def test_gives_what_rds_gives(shared: LocalPostgres) -> None:
    server = shared.start()
    assert re.fullmatch(r"\d+\.\d+", server.version)
    assert server.host == "127.0.0.1"
    roles = ask(
        server.url(),
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles"
        " WHERE rolname IN ('postgres', 'rdsadmin') ORDER BY rolname",
    )
    assert roles == [("postgres", False, True, True, False), ("rdsadmin", True, True, True, True)]
    owners = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert ask(server.url(), owners) == [("postgres",)]


def test_is_utf_8_in_utc_on_the_loopback_alone(shared: LocalPostgres) -> None:
    url = server_of(shared).url("rdsadmin", "loglineos")
    for setting, value in {
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "jit": "off",
        "max_connections": "100",
        "fsync": "off",
    }.items():
        assert ask(url, f"SHOW {setting}") == [(value,)]
    assert ask(url, "SELECT lower('ÁÉ'), 'coração' ~ '^\\w+$', upper('ß') <> ''") == [("áé", True, True)]
    assert ask(url, "SELECT datctype FROM pg_database GROUP BY 1 HAVING datctype !~ 'UTF-8'") == []


def test_lets_nobody_in_without_the_password(shared: LocalPostgres) -> None:
    server = server_of(shared)
    methods = "SELECT DISTINCT auth_method FROM pg_hba_file_rules"
    assert ask(server.url("rdsadmin"), methods) == [("scram-sha-256",)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url(), password="wrong")
    stored = ask(server.url("rdsadmin"), "SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
    assert all(verifier.startswith("SCRAM-SHA-256$4096:") for (verifier,) in stored)


def test_starts_once(shared: LocalPostgres) -> None:
    assert shared.start() == shared.start() == shared.running()


def test_a_login_is_made_encoded_and_kept(shared: LocalPostgres) -> None:
    role = "odd role@/%:é"
    shared.ensure_login(role)
    url = server_of(shared).url(role)
    shared.ensure_login(role)
    assert server_of(shared).url(role) == url
    is_super = "SELECT current_user::text, rolsuper FROM pg_roles WHERE rolname = current_user"
    assert ask(url, is_super) == [(role, False)]
    tell(server_of(shared).url(), f'ALTER ROLE "{role}" CONNECTION LIMIT 7')  # the master administers it


def test_a_changed_or_lost_password_heals(shared: LocalPostgres) -> None:
    shared.ensure_login("patient")
    server = server_of(shared)
    url = server.url("patient")
    tell(server.url("rdsadmin"), "ALTER ROLE patient NOLOGIN PASSWORD 'other'")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    shared.ensure_login("patient")
    assert ask(url, "SELECT 1") == [(1,)]

    kept = json.loads(passwords_of(server).read_text())
    passwords_of(server).write_text(json.dumps({role: word for role, word in kept.items() if role != "patient"}))
    with pytest.raises(LocalPostgresError, match="no password for the role patient"):
        server.url("patient")
    shared.ensure_login("patient")
    assert server.url("patient") != url
    assert ask(server.url("patient"), "SELECT 1") == [(1,)]


def test_what_cannot_be_is_said(fresh: LocalPostgres) -> None:
    assert fresh.running() is None
    assert fresh.stop() is False
    with pytest.raises(LocalPostgresError, match="start it first"):
        fresh.ensure_login("anyone")


def test_passwords_are_on_no_command_line_and_in_no_log(fresh: LocalPostgres) -> None:
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    seen.update([(process / "cmdline").read_bytes(), (process / "environ").read_bytes()])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        server = fresh.start()
        fresh.ensure_login("lambda_exec")
    finally:
        done.set()
        watcher.join()
    passwords = json.loads(passwords_of(server).read_text())
    assert set(passwords) == {"rdsadmin", "postgres", "lambda_exec"}
    assert len(set(passwords.values())) == 3
    assert stat.S_IMODE(passwords_of(server).stat().st_mode) == 0o600
    assert any(b"initdb" in said for said in seen), "the watcher missed the first start"
    said = b"\n".join(seen) + log_of(server).read_bytes() + repr(server).encode()
    assert [role for role, password in passwords.items() if password.encode() in said] == []


def test_no_content_reaches_the_log(shared: LocalPostgres) -> None:
    server = server_of(shared)
    tell(server.url(), "CREATE TABLE once (word text PRIMARY KEY)")
    tell(server.url(), "INSERT INTO once VALUES ('marker')")
    for statement in ("INSERT INTO once VALUES ('marker')", "SELECT 'marker'::int", "SELECT marker"):
        with pytest.raises(psycopg.Error):
            tell(server.url(), statement)
    tell(server.url(), "DO $$ BEGIN RAISE WARNING 'marker'; END $$")
    assert "marker" not in log_of(server).read_text()
    assert "ready to accept connections" in log_of(server).read_text()


def test_a_restart_keeps_data_passwords_and_port(own: LocalPostgres) -> None:
    before = server_of(own)
    tell(before.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
    assert own.stop() is True
    assert own.running() is None
    assert own.stop() is False
    after = own.start()
    assert after.pid != before.pid
    assert after.url() == before.url()
    assert ask(after.url(), "TABLE kept") == [(42,)]


def test_it_is_durable_unless_told_otherwise(own: LocalPostgres) -> None:
    directory = passwords_of(server_of(own)).parent
    own.stop()
    durable = LocalPostgres(directory).start()
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert ask(durable.url(), f"SHOW {setting}") == [("on",)]
    own.stop()


def test_it_outlives_whoever_started_it(own: LocalPostgres) -> None:
    directory = passwords_of(server_of(own)).parent
    own.stop()
    subprocess.run([*python(START), directory], check=True, env=environment())
    server = server_of(own)
    assert os.getsid(server.pid) == server.pid


def test_recovers_from_a_killed_postmaster(own: LocalPostgres) -> None:
    server = server_of(own)
    tell(server.url(), "CREATE TABLE survived AS SELECT 1 AS one")
    with contextlib.closing(psycopg.connect(server.url())):
        crash(server)
        assert own.running() is None
        after = own.start()
    assert after.pid != server.pid
    assert ask(after.url(), "TABLE survived") == [(1,)]


def test_waits_for_the_remains_of_a_killed_postmaster(own: LocalPostgres) -> None:
    """A session busy computing does not notice that its postmaster is gone, and still uses the data."""
    server = server_of(own)
    busy = psycopg.connect(server.url())
    backend = busy.info.backend_pid
    with ThreadPoolExecutor() as pool:
        count = pool.submit(busy.execute, "DO $$ BEGIN FOR i IN 1..1000000000 LOOP END LOOP; END $$")
        time.sleep(0.1)
        crash(server)
        threading.Timer(1, os.kill, [backend, signal.SIGKILL]).start()
        began = time.monotonic()
        after = own.start()
        assert time.monotonic() - began > 0.5, "it did not wait"
        assert isinstance(count.exception(), psycopg.OperationalError)
    assert ask(after.url(), "SELECT 1") == [(1,)]


def test_another_program_with_its_old_pid_does_not_fool_it(own: LocalPostgres) -> None:
    server = server_of(own)
    crash(server)
    owner = server.data_directory.stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=owner if ROOT else None) as other:
        pid_file = server.data_directory / "postmaster.pid"
        pid_file.write_text("\n".join([str(other.pid), *pid_file.read_text().splitlines()[1:]]) + "\n")
        assert own.running() is None
        assert own.stop() is False
        assert ask(own.start().url(), "SELECT 1") == [(1,)]
        assert other.poll() is None
        other.kill()


def test_takes_another_port_when_somebody_has_its_own(own: LocalPostgres) -> None:
    port = server_of(own).port
    own.stop()
    with socket.create_server(("127.0.0.1", port)):
        moved = own.start()
        assert moved.port != port
        assert ask(moved.url(), "SELECT inet_server_port()") == [(moved.port,)]
        own.stop()
        assert own.start().port == moved.port


def test_two_directories_have_two_servers(own: LocalPostgres, shared: LocalPostgres) -> None:
    one, other = server_of(own), server_of(shared)
    assert one.port != other.port
    assert ask(one.url("rdsadmin"), "SHOW data_directory") == [(str(one.data_directory),)]
    assert ask(other.url("rdsadmin"), "SHOW data_directory") == [(str(other.data_directory),)]
    own.stop()
    assert shared.running() == other


def test_concurrent_starts_make_one_server(fresh: LocalPostgres, tmp_path: Path) -> None:
    racers = [LocalPostgres(tmp_path / "fresh", durable=False) for _ in range(4)]
    with ThreadPoolExecutor(len(racers)) as pool:
        servers = list(pool.map(LocalPostgres.start, racers))
    assert len(set(servers)) == 1
    assert fresh.running() == servers[0]


def test_a_first_start_that_was_killed_is_done_anew(folder: Path) -> None:
    local = LocalPostgres(folder / "killed", durable=False)
    half = folder / "killed/data.half"
    with subprocess.Popen([*python(START), folder / "killed"], env=environment()) as starting:
        while not (half / "PG_VERSION").exists():
            assert starting.poll() is None, "it was over before it could be killed"
            time.sleep(0.001)
        starting.kill()
    assert half.exists()
    try:
        assert ask(local.start().url(), "SELECT 1") == [(1,)]
        assert not half.exists()
    finally:
        local.remove()
    assert not (folder / "killed").exists()


def test_data_of_another_major_version_are_refused(own: LocalPostgres) -> None:
    server = server_of(own)
    own.stop()
    version = server.data_directory / "PG_VERSION"
    major = version.read_text()
    try:
        version.write_text("11\n")
        with pytest.raises(LocalPostgresError, match=rf"PostgreSQL 11, and .* PostgreSQL {major.strip()}\b.*Install"):
            own.start()
    finally:
        version.write_text(major)


def test_a_failed_start_shows_the_log(own: LocalPostgres) -> None:
    server = server_of(own)
    own.stop()
    settings = server.data_directory / "postgresql.auto.conf"
    good = settings.read_text()
    try:
        settings.write_text("nonsense = 1\n")
        with pytest.raises(LocalPostgresError) as caught:
            own.start()
    finally:
        settings.write_text(good)
    assert str(log_of(server)) in str(caught.value)
    assert 'unrecognized configuration parameter "nonsense"' in str(caught.value)


@pytest.mark.parametrize("fixture", ["own", "shared"])
def test_data_without_their_password_are_never_thrown_away(fixture: str, request: pytest.FixtureRequest) -> None:
    local: LocalPostgres = request.getfixturevalue(fixture)
    server = server_of(local)
    local.stop()
    hidden = passwords_of(server).rename(passwords_of(server).with_name("hidden"))
    try:
        with pytest.raises(LocalPostgresError, match=r"no passwords\.json"):
            local.start()
    finally:
        hidden.rename(passwords_of(server))
    assert local.start().url() == server.url()


def test_a_system_installation_will_do(fresh: LocalPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (shutil.which("postgres") or list(Path("/usr/lib/postgresql").glob("*/bin"))):
        pytest.skip("there is no PostgreSQL on this system")
    monkeypatch.setattr(binaries, "embedded", lambda: None)
    server = fresh.start()
    assert "embedded" not in command_line(server.pid)
    assert ask(server.url(), "SELECT lower('ÁÉ'), rolsuper FROM pg_roles WHERE rolname = current_user") == [
        ("áé", False)
    ]


def test_without_any_postgresql_it_says_what_to_do(fresh: LocalPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "embedded", lambda: None)
    monkeypatch.setattr(binaries, "_SYSTEM", Path("/nowhere"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LocalPostgresError, match="make setup"):
        fresh.start()


@as_root
def test_a_closed_parent_stays_closed(shared: LocalPostgres) -> None:
    server = server_of(shared)
    directory = passwords_of(server).parent
    assert (directory / "data").is_symlink()
    assert server.data_directory == home.place_elsewhere(directory) / "data"
    assert server.data_directory.stat().st_uid not in (0, os.geteuid())
    assert stat.S_IMODE(server.data_directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.parent.parent.stat().st_mode) == 0o700
    assert Path(f"/proc/{server.pid}").stat().st_uid == server.data_directory.stat().st_uid


@as_root
def test_programs_in_a_closed_folder_are_copied(
    fresh: LocalPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = binaries.embedded()
    assert package
    for original in (package, package.with_name(f"{package.name}.libs")):
        (tmp_path / original.name).symlink_to(original)
    monkeypatch.setattr(binaries, "embedded", lambda: tmp_path / package.name)
    server = fresh.start()
    assert command_line(server.pid).startswith(f"{server.data_directory.parent}/embedded-postgres-")
    assert ask(server.url(), "SELECT count(*) FROM pg_extension WHERE extname = 'plpgsql'") == [(1,)]


@as_root
def test_a_trap_in_the_place_elsewhere_is_refused(fresh: LocalPostgres, tmp_path: Path) -> None:
    home.ELSEWHERE.mkdir(exist_ok=True)
    trap = home.place_elsewhere(tmp_path / "fresh")
    trap.symlink_to(tmp_path)
    try:
        with pytest.raises(LocalPostgresError, match="is no folder that root made"):
            fresh.start()
    finally:
        trap.unlink()
    trap.mkdir()
    os.chown(trap, pwd.getpwnam("nobody").pw_uid, 0)
    try:
        with pytest.raises(LocalPostgresError, match="is no folder that root made"):
            fresh.start()
    finally:
        trap.rmdir()
    assert tmp_path.stat().st_uid == 0


@as_root
def test_a_deleted_directory_begins_anew(fresh: LocalPostgres, tmp_path: Path) -> None:
    old = fresh.start()
    shutil.rmtree(tmp_path / "fresh")
    new = fresh.start()
    assert new.data_directory == old.data_directory
    assert command_line(old.pid) == ""
    assert ask(new.url(), "SELECT 1") == [(1,)]


@as_root
def test_a_copied_directory_does_not_share_the_data(shared: LocalPostgres, tmp_path: Path) -> None:
    directory = passwords_of(server_of(shared)).parent
    shutil.copytree(directory, tmp_path / "copy", symlinks=True)
    copy = LocalPostgres(tmp_path / "copy")
    shared.stop()
    try:
        with pytest.raises(LocalPostgresError, match="moved or copied"):
            copy.start()
    finally:
        copy.remove()
        shared.start()


@as_root
def test_an_ordinary_user_runs_it_as_oneself(folder: Path, own: LocalPostgres) -> None:
    user = pwd.getpwnam("nobody")
    package = binaries.embedded()
    if not (package and Account(user.pw_uid, user.pw_gid, switch=True).enters(package)):
        pytest.skip("the packages are in a folder that is closed to ordinary users")
    mine = folder / "nobody's"
    mine.mkdir()
    os.chown(mine, user.pw_uid, user.pw_gid)
    directory = mine / "a b" / "postgres"
    said = subprocess.run(
        [*python(DROP_PRIVILEGES + START + TRY), directory, own_directory(own)],
        check=True,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert said.splitlines() == ["True", "True", f"{own_directory(own)} belongs to user 0", "0 0"]
    assert directory.stat().st_uid == (directory / "data").stat().st_uid == user.pw_uid
    root = LocalPostgres(directory, durable=False)
    try:
        server = root.start()  # root's server in that user's directory is that user's
        assert Path(f"/proc/{server.pid}").stat().st_uid == user.pw_uid
        root.ensure_login("later")
        assert passwords_of(server).stat().st_uid == user.pw_uid
    finally:
        root.remove()


START = """
from pathlib import Path
from loglineos.local.postgres import LocalPostgres, LocalPostgresError
local = LocalPostgres(Path(sys.argv[1]), durable=False)
server = local.start()
"""

# The interpreter may be closed to that user: what is needed of it is loaded before.
DROP_PRIVILEGES = """
import os, pwd, psycopg, encodings.idna, loglineos.local.postgres
user = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(user.pw_gid)
os.setuid(user.pw_uid)
"""

TRY = """
with psycopg.connect(server.url()) as connection:
    print(connection.execute("SELECT current_user = 'postgres'").fetchone()[0])
print(local.running() == server)
try:
    LocalPostgres(Path(sys.argv[2])).running()
except LocalPostgresError as refusal:
    print(str(refusal).split(",")[0].split(" and")[0])
print(os.stat(f"/proc/{server.pid}").st_uid - user.pw_uid, 1 - local.stop())
"""


def own_directory(local: LocalPostgres) -> Path:
    return passwords_of(server_of(local)).parent


def python(script: str) -> list[str]:
    return [sys.executable, "-c", f"import sys{script}"]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}
