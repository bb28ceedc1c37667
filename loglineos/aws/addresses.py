"""Names that the emulator and its callers agree on. Imports nothing: the command line reads it."""

HOST = "localhost"  # not 127.0.0.1: S3's addresses are path-style for this name only
HEALTH_PATH = "/_loglineos/health"
STACK_TAG = "aws:cloudformation:stack-id"  # what CloudFormation puts on what it makes; nobody else can
ACCOUNT = "123456789012"
# What every program that talks to the emulator signs with. It checks no signature.
ACCESS_KEY = "LOCAL"
SECRET_KEY = "local"  # noqa: S105  it opens nothing
