"""ELF files, read with distrust; for both programs."""
