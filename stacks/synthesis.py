"""From settings to an app, for the CDK command line, the tests and the drawing alike."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from stacks.bundling import ROOT, refuse_upload, skip_bundling
from stacks.environment import SETTINGS, Environment, load_environment
from stacks.system import build_system

Template = dict[str, Any]


def build_app(app: cdk.App, new_deployment_id: str) -> Environment:
    """What the context asks for: `env`, any setting by its name, `deployment_id`, `bundling`."""
    context = app.node.try_get_context
    if context("bundling") == "skip":
        skip_bundling(app)
    given = {name: value for name in SETTINGS if (value := context(name)) is not None}
    zones = {region: tuple(names) for region, names in (context("zones") or {}).items()}
    environment = load_environment(context("env") or "", given, zones)
    build_system(app, environment, context("deployment_id") or new_deployment_id)
    return environment


def synthesize(app: cdk.App) -> Path:
    assembly = Path(app.synth().directory)
    if app.node.try_get_context("bundling") == "skip":
        refuse_upload(assembly)
    return assembly


def committed_context() -> dict[str, Any]:
    """What the CDK command line would read."""
    context: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text(encoding="utf-8"))["context"]
    return {**context, **json.loads((ROOT / "cdk.context.json").read_text(encoding="utf-8"))}


def in_process(name: str, outdir: Path, **settings: str) -> tuple[cdk.App, Environment]:
    context = {**committed_context(), "env": name, "bundling": "skip", **settings}
    app = cdk.App(context=context, outdir=str(outdir), builtin_cloud_formation_validation=False)
    return app, build_app(app, "pinned")


def templates(environment: Environment, assembly: Path) -> Mapping[str, Template]:
    """By the stack's part: `network`, `database`, …"""
    prefix, suffix = "loglineos-", f"{environment.suffix}.template.json"
    return {
        path.name.removeprefix(prefix).removesuffix(suffix): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(assembly.glob(f"{prefix}*.template.json"))
    }
