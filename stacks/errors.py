"""What stops a synthesis: one sentence that says what to change."""


class SettingsError(Exception):
    """A setting, or a combination of settings, that cannot be deployed."""


class BundlingError(Exception):
    """A zip that cannot be made as it has to be."""
