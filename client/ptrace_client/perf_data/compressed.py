"""Records that perf record -z compressed: one zstd stream through all COMPRESSED records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.cursor import damage

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

# Bytes that one record may hold: perf compresses at most a buffer of one processor at a time.
MOST_CONTENT: Final = 64 << 20
# Bytes that the decompressor may look back, and so has to keep; perf uses at most 8 MiB.
_LARGEST_WINDOW: Final = 128 << 20
# Bytes to decompress at once: 4 make at most a block of 128 KiB, so this many at most 32 MiB.
_PIECE: Final = 1 << 10


class Decompressor:
    """Decompresses the contents of COMPRESSED records, in a row."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._stream: ZstdDecompressionObj | None = None

    def take(self, compressed: bytes, offset: int) -> bytes:
        """Return what the next record holds; `offset` is its place in the recording."""
        from zstandard import ZstdDecompressor, ZstdError

        if self._stream is None:
            decompressor = ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
            self._stream = decompressor.decompressobj(read_across_frames=True)
        parts, size = [], 0
        for start in range(0, len(compressed), _PIECE):
            try:
                part = self._stream.decompress(compressed[start : start + _PIECE])
            except ZstdError as error:
                raise self._damage(offset, f"this is not zstd's format: {error}") from None
            parts.append(part)
            size += len(part)
            if size > MOST_CONTENT:
                what = f"a compressed record holds more than {MOST_CONTENT >> 20} MiB"
                raise self._damage(offset, what)
        return b"".join(parts)

    def _damage(self, offset: int, what: str) -> ClientError:
        return damage(self._where, offset, what)
