"""Where generation and scoring run: in this process, or in a pool of processes, one per device."""
