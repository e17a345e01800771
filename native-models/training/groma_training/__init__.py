"""Train a small Groma (arXiv 2404.13013) from nothing on synthetic scenes."""
