"""The command line as a person or a script uses it: a real process, a real ledger."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from db_migration.rows import read_rows
