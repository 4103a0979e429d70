"""The report: finished runs as one page to explore, in a folder or a file that opens without a network."""
