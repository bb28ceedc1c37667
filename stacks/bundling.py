"""The zips that a deployment uploads, built without Docker and byte for byte the same every time."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda

from stacks.environment import Environment
from stacks.errors import BundlingError

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "lambdas"  # CDK wants a folder; the zips are made from the parts below
FORMAT = "3"  # part of every hash: raise it when the way of building changes
LEFT_OUT = {"__pycache__", "RECORD", "bin"}  # RECORD and bin/ name the machine that installed them,
KEPT = {"bin/monty"}  # but for this program, the sandbox's interpreter
PLATFORMS = {"arm64": "aarch64", "x86_64": "x86_64"}


@dataclass(frozen=True)
class Source:
    """A file of the repository and its place in the zip."""

    path: Path
    name: str


@dataclass(frozen=True)
class Layer:
    """Packages that functions import: the requirements file that pins them, and which of their files never run there
    (patterns of paths)."""

    name: str
    requirements: str
    left_out: tuple[str, ...] = ()


DEPENDENCIES = Layer("dependency layer", "requirements-lambda.txt")
# Of pyarrow's wheel a third is for those who build against it, or for services that the archive has no use for; with
# it the layers would come to 249 of Lambda's 250 MB (docs/decisions/0025).
ARCHIVE = Layer(
    "archive layer",
    "requirements-archive.txt",
    (
        *("pyarrow/include/*", "pyarrow/src/*", "pyarrow/tests/*", "*.pyx", "*.pxi", "*.pxd"),
        *("pyarrow/libarrow_flight.so*", "pyarrow/libarrow_python_flight.so*", "pyarrow/_flight.*"),
        *("pyarrow/libarrow_s3.so*", "pyarrow/_s3fs.*"),
        *("pyarrow/libarrow_python.so", "pyarrow/libarrow_python.so.*.*.*"),  # links to one file, as three copies
    ),
)


@dataclass(frozen=True)
class Target:
    """The machine whose wheels a layer holds."""

    architecture: str
    python_version: str


LOADER_PARTS = {
    "ledger": "lambdas/ledger",
    "sandbox": "lambdas/sandbox",
    "policies": "lambdas/policies",
    "stage0_loader": "lambdas/stage0_loader",
    "certs": "certs",
}
DATABASE_PARTS = {
    "ledger": "lambdas/ledger",
    "tlog": "lambdas/tlog",
    "db_migration": "lambdas/db_migration",
    "migrations": "migrations",
    "row": "row",
    "certs": "certs",
}


def files_under(folder: Path, name: str) -> Iterator[Source]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        left_out = LEFT_OUT.intersection(inside.parts) and inside.as_posix() not in KEPT
        if path.is_file() and not left_out and path.suffix != ".pyc":
            yield Source(path, f"{name}/{inside.as_posix()}" if name else inside.as_posix())


def sources_of(parts: dict[str, str]) -> list[Source]:
    return [source for name, folder in sorted(parts.items()) for source in files_under(ROOT / folder, name)]


def content_hash(sources: list[Source], *also: str) -> str:
    """What the zip is made from, so that a template can name the zip before, or without, building it."""
    digest = hashlib.sha256("\n".join((FORMAT, *also)).encode())
    for source in sorted(sources, key=lambda one: one.name):
        content = source.path.read_bytes()
        digest.update(f"\n{source.name}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def write_zip(sources: list[Source], target: Path) -> None:
    """The same bytes from the same files: sorted, of one date, with no trace of the machine."""
    # 9 takes three times as long for one percent.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for source in sorted(sources, key=lambda one: one.name):
            entry = zipfile.ZipInfo(source.name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, or the permissions mean nothing
            executable = source.path.stat().st_mode & 0o100
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, source.path.read_bytes())


def install_wheels(layer: Layer, target: Target, folder: Path) -> None:
    machine = PLATFORMS[target.architecture]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-color", "--disable-pip-version-check"]
    command += ["--no-compile", "--only-binary=:all:", "--require-hashes", "--implementation", "cp"]
    command += ["--platform", f"manylinux_2_28_{machine}", "--platform", f"manylinux2014_{machine}"]
    command += ["--python-version", target.python_version, "--target", str(folder)]
    command += ["-r", str(ROOT / layer.requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        wanted = f"{machine}, Python {target.python_version}"
        raise BundlingError(f"pip could not install the {layer.name} for {wanted}: {' '.join(errors) or done.stderr}")


def layer_sources(layer: Layer, folder: Path) -> list[Source]:
    """The files of installed wheels that go into the layer."""
    found = files_under(folder, "python")
    return [
        source
        for source in found
        if not any(fnmatch(source.path.relative_to(folder).as_posix(), pattern) for pattern in layer.left_out)
    ]


def build_layer(layer: Layer, target: Target, output: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        install_wheels(layer, target, Path(scratch))
        write_zip(layer_sources(layer, Path(scratch)), output / "layer.zip")


def build_code(parts: dict[str, str], output: Path) -> None:
    write_zip(sources_of(parts), output / "code.zip")


@jsii.implements(cdk.ILocalBundling)
class _Local:
    """CDK's hook for building here. It raises on failure: answering False would make CDK try Docker."""

    def __init__(self, parts: dict[str, str] | None, layer: Layer | None = None, target: Target | None = None) -> None:
        self._parts, self._layer, self._target = parts, layer, target

    def try_bundle(self, output_dir: str, *_: object, **__: object) -> bool:
        output = Path(output_dir)
        try:
            if self._layer and self._target:
                build_layer(self._layer, self._target, output)
            elif self._parts:
                build_code(self._parts, output)
        except Exception:
            shutil.rmtree(output, ignore_errors=True)  # or the next synthesis would take it for done
            raise
        return True


def _asset(name: str, hashed: str, local: _Local) -> aws_lambda.Code:
    return aws_lambda.Code.from_asset(
        str(SOURCE),
        asset_hash=hashed,
        asset_hash_type=cdk.AssetHashType.CUSTOM,
        display_name=name,
        bundling=cdk.BundlingOptions(
            image=cdk.DockerImage.from_registry("unused"),
            local=local,
            output_type=cdk.BundlingOutput.ARCHIVED,
        ),
    )


def code_asset(name: str, parts: dict[str, str]) -> aws_lambda.Code:
    return _asset(name, content_hash(sources_of(parts), name), _Local(parts))


def layer_asset(environment: Environment, layer: Layer = DEPENDENCIES) -> aws_lambda.Code:
    target = Target(environment.architecture, environment.python_version)
    requirements = [Source(ROOT / layer.requirements, layer.requirements)]
    hashed = content_hash(requirements, target.architecture, target.python_version, *layer.left_out)
    return _asset(layer.name, hashed, _Local(None, layer, target))


def skip_bundling(app: cdk.App) -> None:
    """`-c bundling=skip`: the same templates to the byte, without the zips."""
    app.node.set_context("aws:cdk:bundling-stacks", [])


def refuse_upload(assembly: Path) -> None:
    """What was not built must not be uploaded under the name of what would have been."""
    for manifest in assembly.glob("*.assets.json"):
        text = manifest.read_text(encoding="utf-8")
        manifest.write_text(text.replace(str(SOURCE), "zips-were-not-built"), encoding="utf-8")
