"""What users may take of the host: reserved, measured, and given out in fair shares."""
