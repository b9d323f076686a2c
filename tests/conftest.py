"""Settings for all tests: one thread, no network, and a small run of the embedded world."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: 20 times slower otherwise on a busy machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
