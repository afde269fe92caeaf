"""Finding one's way below OUT: which titles there are, how they ended, and the manifest file of each."""

from __future__ import annotations

from vsal import storage
from vsal.errors import Reason
from vsal.manifest.schema import ManifestError, MapRow, maps_folder, maps_uri, titles_uri
from vsal.manifest.title import TitleManifest
from vsal.manifest.titles import TitleRecord, read_titles
from vsal.storage import SourceInfo

SUFFIX = ".parquet"


class Manifest:
    """Everything below one OUT."""

    def __init__(self, out: str) -> None:
        """`out` is where `vsal prepare` wrote; nothing is read yet."""
        self.out = out

    def title_ids(self) -> list[str]:
        """Ids of the titles that have a manifest file, sorted."""
        return sorted(self.title_files())

    def title_files(self) -> dict[str, SourceInfo]:
        """Each manifest file by its title's id; one listing."""
        found = storage.list_versions(maps_folder(self.out), recursive=False)
        files = {storage.name(info.uri): info for info in found}
        return {name.removesuffix(SUFFIX): info for name, info in files.items() if name.endswith(SUFFIX)}

    def titles(self) -> list[TitleRecord]:
        """How each title ended, from titles.parquet; without that file from the manifest files' footers.

        A manifest file that cannot be read is then a failed title, with the reason.

        Raises:
            ManifestError: titles.parquet is damaged.
        """
        records = read_titles(self.out)
        return [self._record(title_id) for title_id in self.title_ids()] if records is None else records

    def _record(self, title_id: str) -> TitleRecord:
        try:
            return self._read(title_id)
        except ManifestError as error:
            return TitleRecord(title_id, "", "failed", str(Reason.UNREADABLE), str(error))

    def _read(self, title_id: str) -> TitleRecord:
        with self.title(title_id) as title:
            return TitleRecord(
                title_id=title_id,
                uri=title.source.uri,
                status="done",
                path=f"maps/{title_id}{SUFFIX}",
                frames=title.frames,
                shots=title.shot_count,
                maps=title.map_count,
            )

    def title(self, title_id: str) -> TitleManifest:
        """One title's manifest file.

        Raises:
            ManifestError: there is none, or it is damaged.
        """
        try:
            return TitleManifest(maps_uri(self.out, title_id))
        except FileNotFoundError:
            raise ManifestError(
                f"{self.out} holds no maps of {title_id!r}: prepare the title, or see `vsal inspect {self.out}`"
            ) from None

    def map_at(self, title_id: str, frame: int) -> MapRow:
        """The map of a frame. For many frames keep `title(title_id)`, which holds its row group.

        Raises:
            IndexError: the title has no such frame.
            ManifestError: there is no such title, or it is damaged.
        """
        with self.title(title_id) as title:
            return title.map_at(frame)


def read_manifest(out: str) -> Manifest:
    """The manifest that `vsal prepare --out OUT` wrote.

    Raises:
        ManifestError: there is none.
    """
    manifest = Manifest(out)
    if not storage.exists(titles_uri(out)) and not manifest.title_ids():
        raise ManifestError(f"{out} holds no manifest: write one with `vsal prepare CATALOG --out {out}`")
    return manifest


def read_fingerprint(out: str, title_id: str) -> str | None:
    """The fingerprint of a committed title, or None where there is no manifest file, or a broken one.

    Raises:
        OSError: the place cannot be reached, so that nothing is known of the title.
    """
    try:
        with TitleManifest(maps_uri(out, title_id)) as title:
            return title.fingerprint or None
    except (FileNotFoundError, ManifestError):
        return None


def read_commit(out: str, title_id: str) -> tuple[str, dict[str, int]] | None:
    """Fingerprint and counts (frames, shots, maps) of a committed title, or None as above; one file is opened.

    Raises:
        OSError: the place cannot be reached, so that nothing is known of the title.
    """
    try:
        with TitleManifest(maps_uri(out, title_id)) as title:
            counts = {"frames": title.frames, "shots": title.shot_count, "maps": title.map_count}
            return (title.fingerprint, counts) if title.fingerprint else None
    except (FileNotFoundError, ManifestError):
        return None
