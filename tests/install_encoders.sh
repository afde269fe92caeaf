#!/bin/sh
# Brings SvtAv1EncApp >= 2 from Debian 13 (trixie) into a cache folder, without installing anything.
#
#   tests/install_svtav1.sh [FOLDER]      default: ${XDG_CACHE_HOME:-~/.cache}/vsal/programs
#
# Debian 12 has SVT-AV1 1.4, which knows no --roi-map-file. Trixie's runs on it when its libraries come along.
# (Its kvazaar does not, for want of a newer libstdc++; the tests take kvazaar from the ffmpeg of imageio-ffmpeg.)
# The packages come from the mirror that this machine's own apt is configured for; only the suite is another one.
# Prints the folder of the program; the tests look there, too, without anything being set.
set -eu
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/vsal/programs}
suite=trixie

if [ -x "$folder/bin/SvtAv1EncApp" ]; then
    echo "$folder/bin"
    exit 0
fi
command -v apt-get >/dev/null || { echo "install_svtav1.sh: needs apt-get (Debian or Ubuntu)" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/packages" "$folder"

# First line of the machine's sources that names a Debian archive (not security, not another vendor), suite replaced.
uri=$(
    { sed -n 's/^URIs:[[:space:]]*//p' /etc/apt/sources.list.d/*.sources 2>/dev/null
      sed -n 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' \
          /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null
    } | tr ' ' '\n' | grep -E '/debian/?$' | grep -v security | head -n 1
) || true
[ -n "$uri" ] || { echo "install_svtav1.sh: no Debian archive in this machine's apt sources" >&2; exit 1; }
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
signed=""
[ -f "$keyring" ] && signed="[signed-by=$keyring]"
echo "deb $signed $uri $suite main" > "$work/sources.list"

apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root \
        -o Acquire::Languages=none "$@" >&2
}
apt update
(cd "$work/packages" && apt download svt-av1 libsvtav1enc2 libcpuinfo0)
for package in "$work"/packages/*.deb; do dpkg -x "$package" "$work/root"; done

rm -rf "$folder/lib" "$folder/bin" "$folder/libexec"
mkdir -p "$folder/lib" "$folder/bin" "$folder/libexec"
cp -a "$work"/root/usr/lib/*-linux-gnu/. "$folder/lib/"
cp "$work/root/usr/bin/SvtAv1EncApp" "$folder/libexec/"
# A wrapper, so that nobody has to know about the libraries.
cat > "$folder/bin/SvtAv1EncApp" <<'WRAPPER'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH="$here/../lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "$here/../libexec/SvtAv1EncApp" "$@"
WRAPPER
chmod +x "$folder/bin/SvtAv1EncApp"
"$folder/bin/SvtAv1EncApp" --version >&2
echo "$folder/bin"
