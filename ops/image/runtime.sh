#!/usr/bin/env bash
# runtime.sh PROGRAMS ROOT: last step of the image: a root directory in which the programs of that directory run.
#
# What they need besides themselves: the shared libraries that ldd names, certificates for TLS to Redis and PostgreSQL, the names of
# two users, and /data for a world in SQLite. The licences of the packages come along, and their entries in dpkg's list, by which
# scanners recognize what is inside.
set -euo pipefail

programs=${1:?usage: runtime.sh PROGRAMS ROOT} root=${2:?usage: runtime.sh PROGRAMS ROOT}

die() {
    printf 'runtime.sh: %s\n' "$*" >&2
    exit 1
}

[ ! -e "$root" ] || die "$root exists already"
mkdir -p "$root"/{etc/ssl/certs,usr/lib/ssl,usr/local/bin,var/lib/dpkg/status.d,data,dev,proc,sys,tmp}
ln -s usr/bin usr/sbin usr/lib "$root" # as Debian has it
mkdir "$root"/usr/{bin,sbin}
chmod 1777 "$root/tmp"
chown 10001:10001 "$root/data"
install -m 755 "$programs"/* "$root/usr/local/bin"

# The package that a file came from; it may be listed under /lib or /usr/lib.
package_of() {
    local f
    for f in "$1" "/usr$1" "${1#/usr}"; do
        dpkg-query -S "$f" 2>/dev/null && return
    done | sed 's/:.*//; q'
}

packages=()
for lib in $(ldd "$programs"/* | awk '$1 ~ /^\// && NF == 2 { print $1 } $2 == "=>" { print $3 == "not" ? $1 : $3 }' | sort -u); do
    [ -e "$lib" ] || die "there is no library $lib"
    to=$root$(realpath "$(dirname "$lib")")/$(basename "$lib")
    install -D -m 755 "$(realpath "$lib")" "$to"
    case $lib in
    /lib64/*) ln -sfn usr/lib64 "$root/lib64" ;; # where the loader of amd64 is looked for
    esac
    packages+=("$(package_of "$lib")")
    [ "${packages[-1]}" ] || die "$lib is of no package"
done

install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs"
install -m 644 /etc/ssl/openssl.cnf "$root/etc/ssl"
ln -s /etc/ssl/certs /etc/ssl/openssl.cnf "$root/usr/lib/ssl"
ln -s /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
printf '%s\n' root:x:0:0:root:/:/sbin/nologin spotcraft:x:10001:10001:spotcraft:/data:/sbin/nologin >"$root/etc/passwd"
printf '%s\n' root:x:0: spotcraft:x:10001: >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
cp /etc/os-release "$root/etc"

for p in $(printf '%s\n' "${packages[@]}" ca-certificates | sort -u); do
    install -D -m 644 "/usr/share/doc/$p/copyright" "$root/usr/share/doc/$p/copyright"
    dpkg-query -s "$p" >"$root/var/lib/dpkg/status.d/$p"
done
