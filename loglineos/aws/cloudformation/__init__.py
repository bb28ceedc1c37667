"""CloudFormation: templates in, ordered calls to the resource models out, and back again when one fails."""
