"""Lambda functions that really run: the deployed zip, in its own process, by AWS's own runtime client."""
