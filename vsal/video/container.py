"""Opening a media file for reading: the one place where FFmpeg is handed a name."""

from __future__ import annotations

import errno
import os
import stat as stat_module
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import IO, NoReturn

import av
import av.error
import av.logging
from av.container import InputContainer

from vsal import storage
from vsal.errors import Reason, TitleFailed

# Demuxers that read one file and nothing else. Playlists (hls, dash, concat, imf), image sequences and network
# protocols stay out: a catalogue's file must not be able to name another one.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,live_flv,kux,asf,asf_o,ogg,mxf,ivf,h261,h263,"
    "h264,hevc,vvc,evc,av1,obu,m4v,cavsvideo,dirac,vc1,vc1test,yuv4mpegpipe,gif,nut,rm,wtv,dv,gxf,lxf,swf,mjpeg,"
    "mjpeg_2000,apng,webp_anim,ivr,nsv,nuv,pva,ty,wtv,roq,smk,bink,thp,4xm,rpl,film_cpk,mv,amv,viv,vivo,txd,dxa"
)
MAX_PIXELS = 8192 * 8192  # 8K UHD (7680x4320) is half of it; a 4:2:0 frame of this size takes 100 MB
MAX_SIDE = 16384
HEAD_BYTES = 4096
MOOV_SEARCH_BYTES = 16 << 20  # how much of a file that does not open is looked through for marks of encryption
_DUMPING = threading.Lock()  # FFmpeg has one log level a process
READ_BUFFER_BYTES = 1 << 18  # remote reads go through Python; storage itself reads ahead in MB

_PLAYLISTS = {
    b"#extm3u": "HLS (M3U)",
    b"ffconcat": "FFmpeg concat",
    b"[playlist]": "PLS",
    b"[reference]": "ASF reference",
    b"<asx": "ASX",
    b"<smil": "SMIL",
    b"<mpd": "DASH",
    b"<smoothstreamingmedia": "Smooth Streaming",
    b"<compositionplaylist": "IMF",
    b"v=0\r\n": "SDP",
    b"v=0\no=": "SDP",
    b"rtsptext": "QuickTime reference",
}


@contextmanager
def open_container(uri: str) -> Iterator[InputContainer]:
    """A video opened for reading, with no way from it to any other file.

    Raises:
        TitleFailed: there is no such file, or it is not a media file that can be opened.
    """
    _quiet()
    head = _head(uri)
    _refuse_what_is_no_media(uri, head)
    # `options` reach the decoders that FFmpeg opens while it looks for stream parameters, too.
    options = {"max_pixels": str(MAX_PIXELS), "skip_loop_filter": "all"}
    container_options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file", "enable_drefs": "0"}
    path = storage.local_path(uri)
    with ExitStack() as stack:
        try:
            # An absolute path cannot be read as a URL ("a:b.mp4") or an option.
            source = os.path.abspath(path) if path is not None else stack.enter_context(_remote(uri))
            container = av.open(
                source,
                "r",
                options=options,
                container_options=container_options,
                metadata_errors="replace",  # titles and artists come in every encoding
                buffer_size=READ_BUFFER_BYTES,
                io_open=None if path is not None else _refuse_nested,
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            _explain(uri, head, error)
        stack.enter_context(container)
        yield container


def describe(error: BaseException) -> str:
    """FFmpeg's own words for an error, without file names and numbers."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split(": 'file:")[0].split(": '")[0]


def error_lines() -> int:
    """How many error lines FFmpeg has logged in this process: the only trace that concealed damage leaves."""
    return int(av.logging.get_last_error()[0])


def dump(container: InputContainer) -> str:
    """What `ffmpeg -v verbose -i` prints of an open container: PyAV gives side data of streams no other way."""
    with _DUMPING:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        av.logging.set_libav_level(av.logging.VERBOSE)  # without which it leaves out where chroma lies
        try:
            return str(container.dumps_format())  # type: ignore[attr-defined]  # PyAV's stubs leave it out
        finally:
            av.logging.set_libav_level(av.logging.INFO)
            av.logging.set_level(level)


def _quiet() -> None:
    # With logging off (None) PyAV does not even count errors; at PANIC it counts them and prints nothing.
    if av.logging.get_level() is None:
        av.logging.set_level(av.logging.PANIC)


def _remote(uri: str) -> closing[IO[bytes]]:
    return closing(storage.open_input(uri))


def _refuse_nested(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(errno.EACCES, "a title may not open another file", url)


def _head(uri: str) -> bytes:
    try:
        path = storage.local_path(uri)
        if path is not None and not stat_module.S_ISREG(os.stat(path).st_mode):
            kind = "a folder" if os.path.isdir(path) else "not a regular file"
            raise TitleFailed(Reason.UNREADABLE, f"{uri} is {kind}")
        with closing(storage.open_input(uri)) as file:
            return bytes(file.read(HEAD_BYTES))
    except FileNotFoundError as error:
        raise TitleFailed(Reason.SOURCE_NOT_FOUND, f"there is no file {uri}") from error
    except (OSError, ValueError) as error:  # ValueError: NUL in a path
        raise TitleFailed(Reason.UNREADABLE, f"{uri} cannot be read: {describe(error)}") from error


def _refuse_what_is_no_media(uri: str, head: bytes) -> None:
    if not head:
        raise TitleFailed(Reason.UNREADABLE, f"{uri} is empty (0 bytes)")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    markup = text.startswith(b"<")
    for mark, kind in _PLAYLISTS.items():
        if text.startswith(mark) or (markup and mark.startswith(b"<") and mark in text):
            raise TitleFailed(
                Reason.UNSUPPORTED,
                f"{uri} is a playlist ({kind}) that names other files; list those files in the catalogue instead",
            )


def _explain(uri: str, head: bytes, error: Exception) -> NoReturn:
    """Say why a file did not open, in terms of the file rather than of FFmpeg."""
    if _looks_encrypted(uri, head):
        raise TitleFailed(Reason.UNSUPPORTED, f"{uri} is encrypted (Common Encryption)") from error
    if isinstance(error, FileNotFoundError):
        raise TitleFailed(Reason.SOURCE_NOT_FOUND, f"there is no file {uri}") from error
    if isinstance(error, PermissionError) and not isinstance(error, av.error.FFmpegError):
        raise TitleFailed(Reason.UNREADABLE, f"{uri} may not be read: {describe(error)}") from error
    if all(32 <= byte < 127 or byte in b"\t\r\n\f\x1b" or byte >= 128 for byte in head):
        raise TitleFailed(Reason.UNREADABLE, f"{uri} holds text, not video") from error
    if head[4:8] == b"ftyp" and b"moov" not in _look_through(uri):
        detail = f"{uri} is an MP4 without its index (moov): cut off, or still being written"
        raise TitleFailed(Reason.UNREADABLE, detail) from error
    raise TitleFailed(Reason.UNREADABLE, f"{uri} is not a video that can be opened: {describe(error)}") from error


def _looks_encrypted(uri: str, head: bytes) -> bool:
    return head[4:8] in (b"ftyp", b"styp", b"moov") and b"encv" in _look_through(uri)


def _look_through(uri: str) -> bytes:
    """The beginning and the end of a file; an MP4's index lies in one of the two."""
    try:
        with closing(storage.open_input(uri)) as file:
            return _read_ends(file)
    except (OSError, ValueError):
        return b""


def _read_ends(file: IO[bytes]) -> bytes:
    start = file.read(MOOV_SEARCH_BYTES)
    end = file.seek(0, os.SEEK_END)
    file.seek(max(len(start), end - MOOV_SEARCH_BYTES))
    return bytes(start) + bytes(file.read(MOOV_SEARCH_BYTES))
