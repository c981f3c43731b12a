# SPDX-License-Identifier: BSD-2-Clause
# Copyright 2026 The seL4 Rust VMM authors
# shellcheck shell=sh

# Sourced by the set-up scripts: packages of another release or architecture, out of a private apt configuration. The
# machine's sources, package lists and dpkg database are read at most, never changed. The mirror and any proxy are
# those that the machine's own apt uses; signatures are checked against debian-archive-keyring.

# The sourcing script sets `me`, its name in messages.
say() { echo "${me:?}: $*" >&2; }
die() { say "error: $*"; exit 1; }

# Prints the archive URI that serves release $1, as the machine's own sources name it. `*-security` releases come from
# the machine's security archive, all others from its main one. Fails if the machine has no such source.
apt_uri() (
    # shellcheck source=/dev/null
    host=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
    case $1 in *-security) host=$host-security ;; esac
    # ORIGIN stays literal as long as the machine has no package lists.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(CODENAME) $(REPO_URI) $(ORIGIN)' 'Created-By: Packages' |
        awk -v host="$host" '$1 == "main" && ($2 == host || $3 == host) && ($5 == "Debian" || $5 == "$(ORIGIN)") {
            print $4; found = 1; exit } END { exit !found }'
)

# apt_open DIR ARCH RELEASE...: makes DIR an apt root for ARCH that knows only the given releases (those the machine's
# mirrors serve), and downloads their package lists. The functions below use it until the next apt_open.
apt_open() {
    apt_dir=$1 apt_arch=$2
    shift 2
    apt_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$apt_keyring" ] || die "$apt_keyring is missing; install debian-archive-keyring"
    mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
    : >"$apt_dir/status"
    : >"$apt_dir/sources.list"
    for apt_release; do
        apt_uri=$(apt_uri "$apt_release") || continue
        echo "deb [arch=$apt_arch signed-by=$apt_keyring target=Packages] $apt_uri $apt_release main" >>"$apt_dir/sources.list"
    done
    [ -s "$apt_dir/sources.list" ] || {
        say "no Debian archive among this machine's apt sources serves $*; see sources.list(5)"
        return 1
    }
    # The hooks and architectures of the machine's configuration are cleared, its proxy settings stay. Without its own
    # user, apt would warn of directories (under a private home) that this user cannot reach and go on as root anyway.
    cat >"$apt_dir/apt.conf" <<CONF
#clear APT::Architectures;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "$apt_arch";
APT::Architectures { "$apt_arch"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Cache "$apt_dir/cache";
Dir::Etc::sourcelist "$apt_dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::State "$apt_dir";
Dir::State::lists "$apt_dir/lists";
Dir::State::status "$apt_dir/status";
CONF
    say "reading the package lists of $* ($apt_arch)"
    apt-get -q=2 -c "$apt_dir/apt.conf" --error-on=any update || {
        say "cannot read Debian's package lists; check the network and the proxy in apt.conf(5)"
        return 1
    }
}

# Prints all versions of package $1, newest first.
apt_versions() {
    apt-cache -c "$apt_dir/apt.conf" madison "$1" | awk -F ' *[|] *' '{ print $2 }'
}

# Prints field $2 of package $1 (name or name=version).
apt_field() {
    apt-cache -c "$apt_dir/apt.conf" --no-all-versions show "$1" | sed -n "s/^$2: //p"
}

# apt_fetch DIR PACKAGE...: downloads packages (name or name=version) into DIR as .deb files.
apt_fetch() (
    mkdir -p "$1"
    cd "$1" || exit
    shift
    say "downloading $*"
    apt-get -q=2 -c "$apt_dir/apt.conf" download "$@" || {
        say "cannot download $*; check the network and the space on $PWD"
        exit 1
    }
)

# apt_fetch_missing DIR PACKAGE...: the same with all dependencies that are not installed on this machine.
apt_fetch_missing() (
    dir=$1
    shift
    say "downloading $* and the dependencies that this machine lacks"
    cp /var/lib/dpkg/status "$apt_dir/status"
    # Nothing is installed, so a package that these conflict with does not matter.
    apt-get -q=2 -c "$apt_dir/apt.conf" install --download-only --yes --no-install-recommends "$@" >/dev/null || {
        say "cannot download $*; check the network and the space on $apt_dir"
        exit 1
    }
    mkdir -p "$dir"
    mv "$apt_dir"/cache/archives/*.deb "$dir"
)
