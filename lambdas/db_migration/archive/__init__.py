"""Sealed spans as Parquet in storage: ranges of the log in its order, each proved before it is recorded.

Nothing is deleted or updated. What says that a range is archived is an `archive` span.
"""
