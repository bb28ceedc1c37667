"""`login` and `logout`: this machine as an enrolled device of a ledger's HTTP API."""

from __future__ import annotations

import os
import socket
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from ledger.errors import LedgerUnavailable
from loglineos.arguments import json_option
from loglineos.backend import URL_VARIABLE
from loglineos.client import ApiError, Unavailable, checked_url, enroll
from loglineos.devices import Devices
from loglineos.errors import CommandFailed
from loglineos.output import Output

REVOKE = """Who has a copy of its key is still this device. To end it for good, an administrator of {tenant} says:
  loglineos boot app_enrollment_kernel --tenant {tenant} --input '{{"action":"revoke","device_id":"{device}"}}'"""


@click.command()
@click.option("--code", help="The invitation's code; without it you are asked. Others see it in the list of processes.")
@click.option("--app-name", default="loglineos", show_default=True, help="The app, as the invitation may name it.")
@click.option("--device", "fingerprint", default=socket.gethostname, help="What this machine is called in the ledger.")
@json_option
def login(code: str | None, app_name: str, fingerprint: str, as_json: bool) -> None:
    """Enroll this machine at --url, by a code that an administrator gave you.

    The key is made here and stays here: in the system's key store, or where there is none in a file of yours.
    """
    url, devices, output = _url(), Devices(), Output(as_json)
    if known := devices.get(url):
        raise CommandFailed(f"this machine is enrolled at {url} already, as {known.user_id}: `logout` first")
    code = code or _asked_code()
    try:
        device = enroll(url, code, app_name=app_name, app_version=_version(), fingerprint=fingerprint,
                        key=devices.key_for(url))  # fmt: skip
    except Unavailable as error:
        raise LedgerUnavailable(str(error)) from error
    except ApiError as error:
        raise CommandFailed(str(error), answer=error.problem) from error
    devices.keep(url, device)
    shown = {"url": url, "device_id": device.device_id, "user_id": device.user_id, "tenant_id": device.tenant_id}
    if as_json:
        output.json({**shown, "key": devices.where(url)})
        return
    output.line(f"Enrolled as {device.user_id} of {device.tenant_id}, device {device.device_id}.")
    output.line(f"The key is in {devices.where(url)}. Commands go there with --url {url}, or with {URL_VARIABLE} set.")


@click.command()
@json_option
def logout(as_json: bool) -> None:
    """Forget the device and its key of --url. The ledger is not told."""
    url, devices, output = _url(), Devices(), Output(as_json)
    device = devices.forget(url)
    if as_json:
        output.json({"url": url, "device_id": device.get("device_id")})
    elif "device_id" not in device:
        output.line(f"This machine was not enrolled at {url}.")
    else:
        output.line(f"Forgotten: device {device['device_id']} at {url}.")
        output.line(REVOKE.format(tenant=device["tenant_id"], device=device["device_id"]))


def _url() -> str:
    """Of `--url`, or else of LOGLINEOS_URL."""
    context = click.get_current_context()
    url = context.find_root().params.get("url") or os.environ.get(URL_VARIABLE)
    if not url:
        raise click.UsageError(f"say where: `loglineos --url https://… {context.info_name}`, or set {URL_VARIABLE}")
    try:
        return checked_url(str(url))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _asked_code() -> str:
    """Typed without being shown, or from a pipe."""
    if sys.stdin.isatty():
        return str(click.prompt("Invitation code", hide_input=True)).strip()
    return sys.stdin.readline().strip()


def _version() -> str:
    try:
        return version("loglineos")
    except PackageNotFoundError:  # used in place
        return "0.1.0"
