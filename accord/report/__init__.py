"""The report: what the run folder holds, as one self-contained page and as a table on the terminal."""
