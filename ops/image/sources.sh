# sources.sh - where this machine's apt gets Debian 12 from, for those who need a Debian of their own. Sourced by bash.
# shellcheck shell=bash

# A line "URL suite" for each: the release, its updates, its security fixes. Nothing on a machine that has no Debian 12.
debian_sources() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Created-By: Packages' |
        awk '$2 ~ /^bookworm/ && $3 ~ /^Debian/ && !seen[$1 $2]++ { print $1, $2 }'
}
