#!/usr/bin/env bash
# Takes machines of a real cluster away: a true Spot interruption by AWS Fault Injection Service, or kubectl drain. Prints exactly
# what it will do, and asks before it does it.
set -euo pipefail

usage() {
    cat <<EOF
usage: ops/reclaim-aws.sh [options] COMMAND

  itn NODE...                 interrupts these machines: Kubernetes nodes by name, or instances by id (i-...), at most 5
  storm --tag KEY=VALUE --count N
                              interrupts N running Spot instances that carry the tag, chosen by AWS
  drain NODE...               kubectl drain: evicts the pods in order, and leaves the node cordoned

  --role ARN        the role that FIS acts as (itn, storm); it needs ec2:SendSpotInstanceInterruptions on instances and
                    ec2:DescribeInstances, and must trust fis.amazonaws.com. Or the variable SPOTCRAFT_FIS_ROLE
  --region REGION   default: AWS_REGION, AWS_DEFAULT_REGION, or what aws is configured for
  --before MINUTES  from the recommendation to the interruption, 2 to 15 (2); the notice comes two minutes before it in any case
  --grace SECONDS   drain: how long pods may take, 10 to 600 (115, as the manifests have it)
  --wait SECONDS    how long to wait for the end, 60 to 3600 (900, or two minutes more than --before if that is longer); an
                    interruption takes --before and up to two minutes more
  --dry-run         prints what would be done and ends; nothing is changed, nothing is asked
  --yes             does not ask

Only reads until you have said yes. An interrupted machine does not come back; its group starts another.
What the players notice is on the dashboard, and in the gateways' and nodes' metrics; ops/runbook.md says what to look at.
Exit code: 0 done (or --dry-run), 1 not done, 2 not understood, 130 you said no, or broke it off: then what was started goes
on, and how to stop it is said.
EOF
}

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'reclaim-aws.sh: %s\n' "$*" >&2
    exit 1
}

bad() {
    printf 'reclaim-aws.sh: %s\n' "$*" >&2
    exit 2
}

number() {
    if ! [[ $2 =~ ^[0-9]{1,5}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        bad "$1 takes a number from $3 to $4, not '$2'"
    fi
}

role=${SPOTCRAFT_FIS_ROLE:-} region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}} before=2 grace=115 wait_s='' dry='' yes='' tag='' count='' words=()
while [ $# -gt 0 ]; do
    case $1 in
    --role | --region | --before | --grace | --wait | --tag | --count)
        [ $# -ge 2 ] || bad "$1 needs a value; see --help"
        case $1 in
        --role) role=$2 ;;
        --region) region=$2 ;;
        --before) number --before "$2" 2 15 && before=$2 ;;
        --grace) number --grace "$2" 10 600 && grace=$2 ;;
        --wait) number --wait "$2" 60 3600 && wait_s=$2 ;;
        --tag) tag=$2 ;;
        --count) number --count "$2" 1 5 && count=$2 ;;
        esac
        shift
        ;;
    --dry-run) dry=yes ;;
    --yes) yes=yes ;;
    --help | -h)
        usage
        exit 0
        ;;
    -*) bad "unknown option '$1'; see --help" ;;
    *) words+=("$1") ;;
    esac
    shift
done
what=${words[0]:-}
nodes=("${words[@]:1}")

# Everything from outside goes into a command or a JSON text: nothing but plain names does.
plain='^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,252}$'
case $what in
itn | drain)
    [ ${#nodes[@]} -gt 0 ] || bad "$what takes the names of nodes"
    [ -z "$tag$count" ] || bad "--tag and --count go with storm"
    for name in "${nodes[@]}"; do
        [[ $name =~ $plain ]] || bad "'$name' is no name of a node or an instance"
    done
    ;;
storm)
    [ ${#nodes[@]} = 0 ] || bad "storm takes --tag and --count, no names"
    [[ $tag =~ ^([^=]+)=([^=]+)$ ]] || bad "storm takes --tag KEY=VALUE"
    tag_key=${BASH_REMATCH[1]} tag_value=${BASH_REMATCH[2]}
    if ! [[ $tag_key =~ $plain ]] || ! [[ $tag_value =~ $plain ]]; then bad "--tag: letters, digits and ._:/@+- only"; fi
    [ "$count" ] || bad "storm takes --count N"
    ;;
'')
    usage >&2
    exit 2
    ;;
*) bad "unknown command '$what'; see --help" ;;
esac
if [ "$what" != drain ]; then
    least=$((before * 60 + 120)) # the machine goes after that, and FIS says so a little later
    [ -z "$wait_s" ] || [ "$wait_s" -ge $least ] || bad "--wait $wait_s is too short for --before $before: at least $least seconds"
    [ "$wait_s" ] || wait_s=$((least > 900 ? least : 900))
fi
wait_s=${wait_s:-900}
[ "$what" != itn ] || [ ${#nodes[@]} -le 5 ] || bad "itn takes at most 5 machines at a time, as FIS does"

needed() {
    command -v "$1" >/dev/null || die "$1 is not installed"
}

# agree: what will be done was printed; may it be?
agree() {
    local answer
    if [ "$dry" ]; then
        say "(--dry-run: nothing was done)"
        exit 0
    fi
    [ -z "$yes" ] || return 0
    [ -t 0 ] || die "nothing was done: there is nobody to ask; --yes says that it is meant"
    read -r -p "Do it? Type yes: " answer
    if [ "$answer" != yes ]; then
        say "nothing was done"
        exit 130
    fi
}

# ---- kubectl drain ----

drain() {
    local name
    needed kubectl
    for name in "${nodes[@]}"; do
        kubectl get node "$name" -o name >/dev/null || die "kubectl knows no node '$name'"
    done
    say "This will be run, one after the other:"
    for name in "${nodes[@]}"; do
        say "  kubectl drain $name --ignore-daemonsets --delete-emptydir-data --grace-period=$grace --timeout=${wait_s}s"
    done
    say "on the cluster $(kubectl config current-context). Afterwards the nodes stay cordoned: kubectl uncordon NAME"
    agree
    for name in "${nodes[@]}"; do
        kubectl drain "$name" --ignore-daemonsets --delete-emptydir-data --grace-period="$grace" --timeout="${wait_s}s" ||
            die "$name was not drained; it stays cordoned"
    done
    say "drained: ${nodes[*]}"
}

# ---- Spot interruptions ----

on_aws() {
    aws --region "$region" "$@"
}

# The instance behind a name.
instance_of() {
    local id
    if [[ $1 =~ ^i-[0-9a-f]{8,17}$ ]]; then
        say "$1"
        return
    fi
    needed kubectl
    id=$(kubectl get node "$1" -o 'jsonpath={.spec.providerID}') || die "kubectl knows no node '$1'"
    id=${id##*/}
    [[ $id =~ ^i-[0-9a-f]{8,17}$ ]] || die "node '$1' is not an EC2 instance"
    say "$id"
}

# Only what runs and is Spot can be interrupted; FIS would say so much later.
check_instance() {
    local type zone lifecycle state
    read -r type zone lifecycle state < <(on_aws ec2 describe-instances --instance-ids "$1" --output text \
        --query 'Reservations[].Instances[].[InstanceType,Placement.AvailabilityZone,InstanceLifecycle,State.Name]') ||
        die "there is no instance $1 in $region"
    [ "$lifecycle" = spot ] || die "$1 ($type in $zone) is not a Spot instance: it cannot be interrupted"
    [ "$state" = running ] || die "$1 ($type in $zone) is $state, not running"
    say "  $1  $type/$zone/spot  $2"
}

template='' starting='' experiment='' over=''
# Whatever ends us: no template stays behind, and an experiment that goes on is not left unmentioned.
tidy() {
    trap '' INT TERM
    if [ "$experiment" ] && [ -z "$over" ]; then
        say "the experiment $experiment goes on; to stop it: aws --region $region fis stop-experiment --id $experiment" >&2
    elif [ "$starting" ] && [ -z "$experiment" ]; then
        say "whether an experiment was started is not known; to see: aws --region $region fis list-experiments" >&2
    fi
    [ -z "$template" ] || on_aws fis delete-experiment-template --id "$template" >/dev/null
}

interrupt() {
    local account body targets name id arns='' state='' deadline pause=1
    needed aws
    [ "$region" ] || region=$(aws configure get region) || true
    [[ $region =~ ^[a-z0-9-]+$ ]] || bad "no region: --region, or AWS_REGION"
    [[ $role =~ ^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$ ]] || bad "--role takes the ARN of the role that FIS acts as, not '$role'"
    account=$(on_aws sts get-caller-identity --query Account --output text) || die "aws does not know who you are"
    say "These machines of account $account in $region will be interrupted:"
    if [ "$what" = storm ]; then
        say "  $count running Spot instances with the tag $tag_key=$tag_value, chosen by AWS"
        targets="\"resourceTags\":{\"$tag_key\":\"$tag_value\"},\"filters\":[{\"path\":\"State.Name\",\"values\":[\"running\"]}],\"selectionMode\":\"COUNT($count)\""
    else
        for name in "${nodes[@]}"; do
            id=$(instance_of "$name") || exit 1
            check_instance "$id" "$name" || exit 1
            arns+=",\"arn:aws:ec2:$region:$account:instance/$id\""
        done
        targets="\"resourceArns\":[${arns#,}],\"selectionMode\":\"ALL\""
    fi
    body="{\"description\":\"spotcraft rehearsal\",\"roleArn\":\"$role\",\"stopConditions\":[{\"source\":\"none\"}],\"targets\":{\"machines\":{\"resourceType\":\"aws:ec2:spot-instance\",$targets}},\"actions\":{\"interrupt\":{\"actionId\":\"aws:ec2:send-spot-instance-interruptions\",\"parameters\":{\"durationBeforeInterruption\":\"PT${before}M\"},\"targets\":{\"SpotInstances\":\"machines\"}}}}"
    say "A rebalance recommendation comes at once, the interruption notice two minutes before the end, the end after $before minutes."
    say "This will be run:"
    say "  aws --region $region fis create-experiment-template --cli-input-json '$body'"
    say "  aws --region $region fis start-experiment --experiment-template-id (that one)"
    say "  aws --region $region fis get-experiment ..., until it is over, at most $wait_s seconds"
    say "  aws --region $region fis delete-experiment-template --id (that one)"
    agree
    trap tidy EXIT
    trap 'exit 130' INT TERM
    template=$(on_aws fis create-experiment-template --cli-input-json "$body" --query experimentTemplate.id --output text) ||
        die "FIS did not take the template"
    starting=yes
    experiment=$(on_aws fis start-experiment --experiment-template-id "$template" --query experiment.id --output text) ||
        die "FIS did not start the experiment"
    say "started: $experiment"
    deadline=$((SECONDS + wait_s))
    while [ $SECONDS -lt $deadline ]; do
        state=$(on_aws fis get-experiment --id "$experiment" --query experiment.state.status --output text) || state=unknown
        say "$(date +%T)  $state"
        case $state in
        completed)
            over=yes
            say "interrupted"
            return
            ;;
        stopped | failed | cancelled)
            over=yes
            die "the experiment $experiment $state: $(on_aws fis get-experiment --id "$experiment" --query experiment.state.reason --output text)"
            ;;
        esac
        sleep $pause >/dev/null & # a signal interrupts a wait, not a sleep
        wait $! || true
        pause=$((pause < 5 ? pause + 1 : 5))
    done
    die "the experiment $experiment was still $state after $wait_s seconds"
}

case $what in
drain) drain ;;
*) interrupt ;;
esac
