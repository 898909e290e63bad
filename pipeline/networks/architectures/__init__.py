"""One file a paper, named for it: its generator and its discriminator."""
