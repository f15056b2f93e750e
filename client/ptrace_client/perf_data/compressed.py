"""Records that perf record -z compressed: one zstd stream through all COMPRESSED records."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final, cast

from ptrace_client.errors import ClientError
from ptrace_client.perf_data.cursor import damage

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionWriter

# Bytes that one record may hold: perf compresses at most a buffer of one processor at a time.
MOST_CONTENT: Final = 64 << 20
# Bytes that the decompressor may look back, and so has to keep; perf uses at most 8 MiB.
_LARGEST_WINDOW: Final = 128 << 20


class _Content(list[bytes]):
    """Takes what comes out of the decompressor."""

    left = MOST_CONTENT

    def write(self, content: bytes) -> int:
        """Take the next bytes. Raise OverflowError where they are too many."""
        self.left -= len(content)
        if self.left < 0:
            raise OverflowError
        # The decompressor uses its buffer again.
        self.append(bytes(content))
        return len(content)


class Decompressor:
    """Decompresses the contents of COMPRESSED records, in a row."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._content = _Content()
        self._stream: ZstdDecompressionWriter | None = None

    def take(self, compressed: bytes, offset: int) -> bytes:
        """Return what the next record holds; `offset` is its place in the recording."""
        from zstandard import ZstdDecompressor, ZstdError

        content = self._content
        if self._stream is None:
            decompressor = ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
            self._stream = decompressor.stream_writer(cast(IO[bytes], content), closefd=False)
        content.clear()
        content.left = MOST_CONTENT
        try:
            self._stream.write(compressed)
        except ZstdError as error:
            raise self._damage(offset, f"this is not zstd's format: {error}") from None
        except OverflowError:
            what = f"a compressed record holds more than {MOST_CONTENT >> 20} MiB"
            raise self._damage(offset, what) from None
        return b"".join(content)

    def _damage(self, offset: int, what: str) -> ClientError:
        return damage(self._where, offset, what)
