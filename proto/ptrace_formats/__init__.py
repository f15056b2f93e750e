"""How the kernel describes its events, read into the contract's terms; for both programs."""
