"""What AWS is asked for: one page a stack, settings in `environment.py`, put together in `system.py`."""
