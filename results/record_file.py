"""What a record's file is called, and the version of its schema: apart from what reads one, which is slow to import."""

from __future__ import annotations

RECORD = "record.json"
SCHEMA = 2
CANCELLED = "Cancelled"  # the type of the failure of a job that was left out by hand
UPDATE = "update latentbench, or choose another folder"  # what to do about files of a newer version
