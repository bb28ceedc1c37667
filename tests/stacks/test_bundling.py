"""The real zips: same bytes twice, right machine, small, importable."""

import platform
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from loglineos.aws.functions.package import unpacked
from stacks import bundling
from stacks.bundling import (
    ARCHIVE,
    DATABASE_PARTS,
    DEPENDENCIES,
    LOADER_PARTS,
    Layer,
    Target,
    build_code,
    build_layer,
    content_hash,
)
from stacks.environment import Environment
from stacks.errors import BundlingError

MIB = 1024**2
ELF_MACHINES = {"arm64": 0xB7, "x86_64": 0x3E}
RUNTIME: str = Environment.python_version
HERES_MACHINE = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64"}[platform.machine()]


LAMBDAS_LIMIT = 250 * MIB  # of a function's code and all its layers, unpacked

Built = Callable[[str, Layer], Path]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The real layer for an architecture, built at first need."""

    @cache
    def build(architecture: str, layer: Layer) -> Path:
        folder = tmp_path_factory.mktemp(architecture)
        build_layer(layer, Target(architecture, RUNTIME), folder)
        return folder / "layer.zip"

    return build


@pytest.fixture(scope="session", params=list(ELF_MACHINES))
def real_layer(request: pytest.FixtureRequest, built: Built) -> tuple[str, Path]:
    return request.param, built(request.param, DEPENDENCIES)


def shared_objects(archive: zipfile.ZipFile) -> list[str]:
    return [name for name in archive.namelist() if ".so" in Path(name).name]


def test_layer_is_of_its_machine(real_layer: tuple[str, Path]) -> None:
    architecture, path = real_layer
    with zipfile.ZipFile(path) as archive:
        objects = shared_objects(archive)
        heads = [archive.open(name).read(20) for name in objects]
    assert len(objects) > 5
    assert {head[:4] for head in heads} == {b"\x7fELF"}
    assert {struct.unpack_from("<H", head, 18)[0] for head in heads} == {ELF_MACHINES[architecture]}


def test_layer_is_of_its_runtime(real_layer: tuple[str, Path]) -> None:
    _, path = real_layer
    tag = f"cpython-{RUNTIME.replace('.', '')}-"
    with zipfile.ZipFile(path) as archive:
        tagged = [name for name in shared_objects(archive) if "cpython-" in name]
    assert tagged
    assert [name for name in tagged if tag not in name] == []


def test_layer_is_small_and_lies_where_lambda_looks(real_layer: tuple[str, Path]) -> None:
    _, path = real_layer
    assert path.stat().st_size < 60 * MIB
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert sum(entry.file_size for entry in archive.infolist()) < 200 * MIB
    assert {name.split("/")[0] for name in names} == {"python"}
    assert {"python/psycopg/__init__.py", "python/orjson/__init__.py"} <= set(names)
    programs = [name for name in names if "/bin/" in name]
    assert programs == ["python/bin/monty"]
    assert [name for name in names if "__pycache__" in name or name.endswith("/RECORD")] == []


def test_layer_brings_the_sandboxs_program_to_execute(real_layer: tuple[str, Path]) -> None:
    architecture, path = real_layer
    with zipfile.ZipFile(path) as archive:
        program = archive.getinfo("python/bin/monty")
        head = archive.open(program).read(20)
    assert program.external_attr >> 16 & 0o777 == 0o755
    assert struct.unpack_from("<H", head, 18)[0] == ELF_MACHINES[architecture]


@pytest.mark.parametrize("architecture", list(ELF_MACHINES))
def test_the_archive_layer_fits_beside_the_others(architecture: str, built: Built, tmp_path: Path) -> None:
    build_code(DATABASE_PARTS, tmp_path)
    zips = [built(architecture, DEPENDENCIES), built(architecture, ARCHIVE), tmp_path / "code.zip"]
    unpacked_bytes = 0
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes += sum(entry.file_size for entry in archive.infolist())
    assert unpacked_bytes < LAMBDAS_LIMIT
    with zipfile.ZipFile(zips[1]) as archive:
        names = archive.namelist()
        heads = {struct.unpack_from("<H", archive.open(name).read(20), 18)[0] for name in shared_objects(archive)}
    assert {name.split("/")[1].partition("-")[0] for name in names} == {"pyarrow"}
    assert heads == {ELF_MACHINES[architecture]}
    assert [name for name in names if "flight.so" in name or "/include/" in name or "/tests/" in name] == []


def newest_python_here() -> tuple[str, str]:
    """The runtime's own version where the machine has it, so that the layer imported is the layer deployed."""
    for version in (RUNTIME, "3.13", "3.12"):
        found = shutil.which(f"python{version}")
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found, version
    return sys.executable, f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Target, Path]:
    """By the same way, for an interpreter that is here to import it."""
    interpreter, version = newest_python_here()
    folder = tmp_path_factory.mktemp("native")
    target = Target(HERES_MACHINE, version)
    build_layer(DEPENDENCIES, target, folder)
    return interpreter, target, folder / "layer.zip"


WRITES_A_FILE = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from db_migration.archive.parquet import SCHEMA, SpanFile, read_file
from ledger.span import COLUMNS
values = {"seq": 1, "at": -62135596800000000, "related_to": [], "is_deleted": False, "era": 1, "position": 2}
row = tuple(values.get(name, "x") for name in COLUMNS if name != "duration_ms")
row = row[:COLUMNS.index("duration_ms")] + (None,) + row[COLUMNS.index("duration_ms"):]
with SpanFile(Path(sys.argv[1])) as file:
    file.add(row)
print(list(read_file(Path(sys.argv[1]), "it")) == [row], sys.modules["pyarrow"].__file__)
"""


def test_what_is_left_of_pyarrow_writes_and_reads_the_archives_files(
    native: tuple[str, Target, Path], tmp_path: Path
) -> None:
    interpreter, target, dependencies = native
    build_layer(ARCHIVE, target, tmp_path)
    build_code(DATABASE_PARTS, tmp_path)
    zips = [tmp_path / "layer.zip", dependencies, tmp_path / "code.zip"]
    archive, layer, task = (unpacked(tmp_path, path.read_bytes()) for path in zips)
    paths = [str(tmp_path / "a.parquet"), str(archive / "python"), str(layer / "python"), str(task)]
    done = subprocess.run([interpreter, "-I", "-S", "-c", WRITES_A_FILE, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", str(archive / "python" / "pyarrow" / "__init__.py")]


IMPORTED = (
    "import aws_lambda_powertools, nacl.signing, orjson, psycopg, psycopg_binary, pydantic, pydantic_monty, rfc8785"
)


def test_native_layer_imports(native: tuple[str, Target, Path], tmp_path: Path) -> None:
    interpreter, _, layer = native
    with zipfile.ZipFile(layer) as archive:
        archive.extractall(tmp_path)
    check = f"import sys; sys.path.insert(0, sys.argv[1]); {IMPORTED}; print(psycopg.__file__)"
    command = [interpreter, "-I", "-S", "-c", check, str(tmp_path / "python")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


IN_THE_SANDBOX = """
import sys
sys.path[:0] = sys.argv[1:]
from sandbox import Limits, Sandbox
from sandbox.worker import find_program
sandbox = Sandbox(require_seccomp=sys.platform == "linux")
result = sandbox.run("def main(input):\\n    return input * 2", "main", 21, Limits(), tenant="acme")
sandbox.close()
print(result.output, find_program())
"""


def test_native_layer_runs_a_function_in_the_sandbox(native: tuple[str, Target, Path], tmp_path: Path) -> None:
    interpreter, _, layer = native
    python = unpacked(tmp_path, layer.read_bytes()) / "python"
    build_code(LOADER_PARTS, tmp_path)
    task = unpacked(tmp_path, (tmp_path / "code.zip").read_bytes())
    command = [interpreter, "-I", "-S", "-c", IN_THE_SANDBOX, str(python), str(task)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["42", str(python / "bin" / "monty")]


def test_two_builds_are_the_same_bytes(native: tuple[str, Target, Path], tmp_path: Path) -> None:
    _, target, layer = native
    build_layer(DEPENDENCIES, target, tmp_path)
    assert (tmp_path / "layer.zip").read_bytes() == layer.read_bytes()


@pytest.mark.parametrize(("parts", "roots"), [
    (LOADER_PARTS, {"ledger", "sandbox", "policies", "stage0_loader", "certs"}),
    (DATABASE_PARTS, {"ledger", "tlog", "db_migration", "migrations", "row", "certs"}),
])  # fmt: skip
def test_code_zip_holds_its_parts(parts: dict[str, str], roots: set[str], repository: Path, tmp_path: Path) -> None:
    build_code(parts, tmp_path)
    with zipfile.ZipFile(tmp_path / "code.zip") as archive:
        names = archive.namelist()
    present = {name for name, folder in parts.items() if (repository / folder).is_dir()}
    assert {name.split("/")[0] for name in names} == present & roots
    assert "certs/rds-ca.pem" in names
    assert names == sorted(names)
    assert set(parts) == roots


def write_tree(folder: Path, **files: str) -> list[bundling.Source]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return list(bundling.files_under(folder, "part"))


def test_hash_follows_content_name_and_machine(tmp_path: Path) -> None:
    first = write_tree(tmp_path / "a", one="1", two="2")
    same = write_tree(tmp_path / "b", two="2", one="1")
    assert content_hash(first, "arm64") == content_hash(same, "arm64")
    assert content_hash(first, "arm64") != content_hash(first, "x86_64")
    assert content_hash(first) != content_hash(write_tree(tmp_path / "c", one="1", two="3"))
    assert content_hash(first) != content_hash(write_tree(tmp_path / "d", one="1", tow="2"))


def test_leftovers_of_a_machine_are_left_out(tmp_path: Path) -> None:
    tree = {
        "a.py": "",
        "__pycache__/a.cpython-311.pyc": "",
        "b.pyc": "",
        "x.dist-info/RECORD": "",
        "bin/tool": "",
        "bin/monty": "",
        "deeper/bin/monty": "",
    }
    assert [source.name for source in write_tree(tmp_path, **tree)] == ["part/a.py", "part/bin/monty"]


def test_pips_failure_is_a_sentence_and_never_docker(tmp_path: Path) -> None:
    with pytest.raises(BundlingError, match=r"pip could not install the dependency layer for x86_64, Python 2\.7: "):
        bundling._Local(None, DEPENDENCIES, Target("x86_64", "2.7")).try_bundle(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
