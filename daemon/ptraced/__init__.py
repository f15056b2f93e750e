"""ptraced: the privileged daemon that attaches events and streams their samples."""

__version__ = "0.1.0"
