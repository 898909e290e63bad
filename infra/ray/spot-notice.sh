#!/usr/bin/env bash
# Tells Ray when the cloud takes a spot machine back, so that what runs on it is saved and moved in time. It runs on
# each spot worker, beside Ray, and ends when it has told.
#
#   spot-notice.sh aws|gcp HEAD:PORT
#
# ZEROSUM_METADATA: where the cloud's metadata service answers, if not at its usual address.
set -euo pipefail

cloud=${1:-} head=${2:-}
metadata=${ZEROSUM_METADATA:-http://169.254.169.254}
ask=(wget --quiet --output-document=- --timeout=2 --tries=1)

# Seconds from the notice to the end, less what noticing takes.
case $cloud in
    aws) left=110 ;;
    gcp) left=25 ;;
    *) echo "spot-notice.sh: aws or gcp, and the head's address: spot-notice.sh aws 10.0.0.10:6379" >&2 && exit 2 ;;
esac
if [[ -z $head ]]; then
    echo "spot-notice.sh: the head's address is missing: spot-notice.sh $cloud 10.0.0.10:6379" >&2
    exit 2
fi

taken_back() {
    local pass
    if [[ $cloud == aws ]]; then
        # There is no such page (404) until the machine is to go.
        pass=$("${ask[@]}" --method=PUT --header="X-aws-ec2-metadata-token-ttl-seconds: 60" "$metadata/latest/api/token") \
            && "${ask[@]}" --header="X-aws-ec2-metadata-token: $pass" \
                "$metadata/latest/meta-data/spot/instance-action" > /dev/null
    else
        [[ $("${ask[@]}" --header="Metadata-Flavor: Google" "$metadata/computeMetadata/v1/instance/preempted") == TRUE ]]
    fi
}

# Ray's name for this machine, from the command line of its raylet.
node() {
    local file words
    for file in /proc/[0-9]*/cmdline; do
        words=$({ tr '\0' '\n' < "$file"; } 2> /dev/null) || continue
        if grep --quiet --fixed-strings --line-regexp -- "--gcs-address=$head" <<< "$words"; then
            sed -n 's/^--node_id=//p' <<< "$words"
        fi
    done | sort -u
}

# One watcher a machine: `ray up` runs this again on workers that are there already.
exec 9>> "${TMPDIR:-$HOME}/.spot-notice.lock"
flock --nonblock 9 || exit 0

until taken_back; do
    sleep 2
done
echo "$(date --utc +%FT%TZ) this machine is taken back; Ray is told"
until ray drain-node --address="$head" --node-id="$(node)" --reason=DRAIN_NODE_REASON_PREEMPTION \
    --reason-message="spot machine taken back" --deadline-remaining-seconds="$left"; do
    sleep 1
done
