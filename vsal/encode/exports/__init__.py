"""A title's maps and shots as files for whoever works on from there."""

from vsal.encode.exports.settings import ExportSettings
from vsal.encode.exports.title import export_title

__all__ = ["ExportSettings", "export_title"]
