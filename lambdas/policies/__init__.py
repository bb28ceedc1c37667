"""What policies are, what they are shown, and the spans that come of what they ask for (docs/policies.md)."""
