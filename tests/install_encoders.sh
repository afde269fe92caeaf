#!/bin/sh
# Brings the encoders that tests run as programs of their own into a cache folder, without installing anything.
#
#   tests/install_encoders.sh [FOLDER]      default: ${XDG_CACHE_HOME:-~/.cache}/vsal/programs
#
# x264, x265     of this machine's own release, with the libraries that it lacks.
# SvtAv1EncApp   of Debian 13 (trixie): Debian 12 has SVT-AV1 1.4, which knows no --roi-map-file. Trixie's runs on it when
#                its libraries come along. (Its kvazaar does not, for want of a newer libstdc++; the tests take kvazaar
#                from the ffmpeg of imageio-ffmpeg.)
#
# The packages come from the mirror that this machine's own apt is configured for. Prints the folder of the programs; the
# tests look there, too, without anything being set. Ends with 1 where a program cannot be had, after trying the others.
set -u
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/vsal/programs}
suite=trixie

say() { echo "install_encoders.sh: $*" >&2; }

# Packages of a suite (or of the machine's own sources) unpacked under $folder/NAME, and a wrapper for each program, so
# that nobody has to know about the libraries.
#   bring NAME "PACKAGES" "PROGRAMS" [apt options]
bring() (
    set -e
    name=$1 packages=$2 programs=$3
    shift 3
    mkdir -p "$work/$name/lists/partial" "$work/$name/cache/archives/partial"
    apt() {
        apt-get -q -o Dir::State::Lists="$work/$name/lists" -o Dir::Cache="$work/$name/cache" -o Debug::NoLocking=1 \
            -o APT::Sandbox::User=root -o Acquire::Languages=none "$@" >&2
    }
    apt "$@" update
    if [ "$name" = svt-av1 ]; then
        # By name: trixie's libc must not come along.
        (cd "$work/$name/cache/archives" && apt "$@" download $packages)
    else
        apt "$@" install --download-only --no-install-recommends --yes $packages
    fi
    for package in "$work/$name"/cache/archives/*.deb; do dpkg -x "$package" "$work/$name/root"; done
    rm -rf "${folder:?}/$name"
    mkdir -p "$folder/bin"
    mv "$work/$name/root" "$folder/$name"
    for program in $programs; do
        cat > "$folder/bin/$program" <<WRAPPER
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../$name
for lib in "\$root"/usr/lib/*-linux-gnu "\$root"/lib/*-linux-gnu; do
    LD_LIBRARY_PATH="\$lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
done
export LD_LIBRARY_PATH
exec "\$root/usr/bin/$program" "\$@"
WRAPPER
        chmod +x "$folder/bin/$program"
    done
)

# A program that is there and runs; a wrapper whose libraries are gone is brought again.
works() { "$folder/bin/$1" --version >/dev/null 2>&1; }

bring_x26x() { bring x26x "x264 x265" "x264 x265"; }

bring_svtav1() {
    # First line of the machine's sources that names a Debian archive (not security, not another vendor).
    uri=$(
        { sed -n 's/^URIs:[[:space:]]*//p' /etc/apt/sources.list.d/*.sources 2>/dev/null
          sed -n 's/^deb[[:space:]]\{1,\}\(\[[^]]*\][[:space:]]*\)\{0,1\}\([^[:space:]]*\).*/\2/p' \
              /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null
        } | tr ' ' '\n' | grep -E '/debian/?$' | grep -v security | head -n 1
    )
    [ -n "$uri" ] || { say "no Debian archive in this machine's apt sources"; return 1; }
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    signed=""
    [ -f "$keyring" ] && signed="[signed-by=$keyring]"
    echo "deb $signed $uri $suite main" > "$work/sources.list"
    bring svt-av1 "svt-av1 libsvtav1enc2 libcpuinfo0" SvtAv1EncApp -o Dir::Etc::sourcelist="$work/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
}

missing() { for program in "$@"; do works "$program" || return 0; done; return 1; }

status=0
if missing x264 x265 SvtAv1EncApp; then
    command -v apt-get >/dev/null || { say "needs apt-get (Debian or Ubuntu)"; exit 1; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if missing x264 x265; then bring_x26x; fi
    if missing SvtAv1EncApp; then bring_svtav1; fi
fi
for program in x264 x265 SvtAv1EncApp; do
    works "$program" || { say "$program cannot be had here"; status=1; }
done
echo "$folder/bin"
exit $status
