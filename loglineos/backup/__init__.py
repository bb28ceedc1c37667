"""Logical backups: what of the ledger is truth, in files that can be checked without a database, and back again.

A folder holds one full backup and the incremental ones that follow it, each a manifest (JSON) and a file of spans:

    0000-full.json            0000-full.spans.zst
    0001-incremental.json     0001-incremental.spans.zst

The spans are what PostgreSQL's `COPY … TO STDOUT` writes (text format, UTF-8, times in UTC), compressed with Zstandard,
in the ledger's order. A manifest names its file's SHA-256 and that of the manifest before it; it is written last.
"""
